// Speaks with voices of this machine alone, and hears, where somebody has turned the microphone on.

const synthesis = window.speechSynthesis;
const Recognition = window.SpeechRecognition ?? window.webkitSpeechRecognition;
let spoken = 0; // which speech is said; a later one silences an earlier one

const localVoice = (locale) => {
  const voices = (synthesis?.getVoices() ?? []).filter((voice) => voice.localService);
  return voices.find((voice) => voice.lang === locale) ?? voices.find((voice) => voice.lang.startsWith(locale.slice(0, 2)));
};

export const hush = () => {
  spoken += 1;
  synthesis?.cancel();
};

// Say the parts of a speech with the pauses between them, and be done when they are said.
export async function speak(speech, locale) {
  hush();
  const mine = spoken;
  for (const part of speech) {
    const voice = localVoice(locale);
    if (!voice || mine !== spoken) return;
    const utterance = new SpeechSynthesisUtterance(part.text);
    utterance.voice = voice;
    utterance.lang = voice.lang;
    await new Promise((done) => {
      utterance.onend = utterance.onerror = done;
      synthesis.speak(utterance);
      setTimeout(done, 1500 + 120 * part.text.length); // some voices never say that they have ended
    });
    if (part.pause) await new Promise((done) => setTimeout(done, part.pause));
  }
}

// Tell where audio would go: "" where this browser recognises no speech.
export async function whereAudioGoes(locale) {
  if (!Recognition) return "";
  try {
    const state = await Recognition.available?.({ langs: [locale], processLocally: true });
    return state === "available" ? "here" : "away";
  } catch {
    return "away";
  }
}

// Listen once; resolves to what was said, "" where nothing was understood.
export function listen(locale, { locally }) {
  const recognition = new Recognition();
  recognition.lang = locale;
  if (locally) recognition.processLocally = true;
  const heard = new Promise((done, failed) => {
    recognition.onresult = (event) => done(event.results[0][0].transcript);
    recognition.onerror = (event) => (event.error === "no-speech" ? done("") : failed(new Error(event.error)));
    recognition.onend = () => done("");
  });
  recognition.start();
  return { heard, stop: () => recognition.stop() };
}

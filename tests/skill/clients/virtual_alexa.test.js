// virtual-alexa plays the device: it takes utterances to intents by our interaction model, and follows our directives.
const assert = require("assert");
const path = require("path");
const { VirtualAlexa } = require("virtual-alexa");

const MODEL = path.join(__dirname, "../../../interaction_models/interactionModels/custom/en-US.json");

describe("virtual-alexa", () => {
  it("holds a conversation of ten turns", async () => {
    const alexa = VirtualAlexa.Builder().skillURL(process.env.SKILL_URL).interactionModelFile(MODEL).create();
    const isOpen = (turn) => {
      assert.match(turn.response.outputSpeech.ssml, /^<speak>.*\w.*<\/speak>$/);
      assert.match(turn.response.reprompt.outputSpeech.ssml, /\?/);
      assert.strictEqual(turn.response.shouldEndSession, false);
      assert.strictEqual(turn.directive("Dialog.ElicitSlot").slotToElicit, "raw_input");
      return turn.response.outputSpeech.ssml;
    };
    isOpen(await alexa.launch());
    isOpen(await alexa.utter("i like movies"));
    isOpen(await alexa.intend("ChatIntent", { raw_input: "do you have a dog" }));
    isOpen(await alexa.utter("what about jazz"));
    isOpen(await alexa.intend("AMAZON.YesIntent"));
    isOpen(await alexa.intend("ChatIntent", { raw_input: "i went to the beach" }));
    isOpen(await alexa.intend("AMAZON.NoIntent"));
    const said = isOpen(await alexa.utter("my favorite food is pizza"));
    assert.strictEqual(isOpen(await alexa.intend("AMAZON.RepeatIntent")), said);
    isOpen(await alexa.intend("AMAZON.HelpIntent"));
    isOpen(await alexa.intend("AMAZON.FallbackIntent"));
    const goodbye = await alexa.intend("AMAZON.StopIntent");
    assert.strictEqual(goodbye.response.shouldEndSession, true);
    assert.strictEqual(goodbye.response.reprompt, undefined);
  });

  it("is greeted, chats once and goes without a word", async () => {
    const alexa = VirtualAlexa.Builder().skillURL(process.env.SKILL_URL).interactionModelFile(MODEL).create();
    await alexa.utter("open chatty friend");
    await alexa.intend("ChatIntent", { raw_input: "hello" });
    const ended = await alexa.endSession();
    assert.deepStrictEqual(ended.response.outputSpeech, undefined);
  });
});

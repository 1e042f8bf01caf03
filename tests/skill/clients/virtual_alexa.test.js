// virtual-alexa plays the device: it takes utterances to intents by our interaction model (SKILL_MODEL: a file with another
// than the shipped one), and follows our directives.
const assert = require("assert");
const path = require("path");
const { VirtualAlexa } = require("virtual-alexa");

const MODEL = process.env.SKILL_MODEL || path.join(__dirname, "../../../interaction_models/interactionModels/custom/en-US.json");

const ELICITS = "dialog" in require(MODEL).interactionModel;
const { intents, types } = require(MODEL).interactionModel.languageModel;
const CHAT = intents[0].name;
// Of a slot type it knows the values alone, where Alexa takes others, too.
const SAID = ELICITS
  ? ["i like movies", "what about jazz", "my favorite food is pizza"]
  : types[0].values.slice(-3).map((value) => value.name.value);

describe("virtual-alexa", () => {
  it("holds a conversation of ten turns", async () => {
    const alexa = VirtualAlexa.Builder().skillURL(process.env.SKILL_URL).interactionModelFile(MODEL).create();
    const isOpen = (turn) => {
      assert.match(turn.response.outputSpeech.ssml, /^<speak>.*\w.*<\/speak>$/);
      assert.match(turn.response.reprompt.outputSpeech.ssml, /\?/);
      assert.strictEqual(turn.response.shouldEndSession, false);
      const elicited = turn.directive("Dialog.ElicitSlot");
      assert.strictEqual(elicited && elicited.slotToElicit, ELICITS ? "raw_input" : undefined);
      return turn.response.outputSpeech.ssml;
    };
    isOpen(await alexa.launch());
    isOpen(await alexa.utter(SAID[0]));
    isOpen(await alexa.intend(CHAT, { raw_input: "do you have a dog" }));
    isOpen(await alexa.utter(SAID[1]));
    isOpen(await alexa.intend("AMAZON.YesIntent"));
    isOpen(await alexa.intend(CHAT, { raw_input: "i went to the beach" }));
    isOpen(await alexa.intend("AMAZON.NoIntent"));
    const said = isOpen(await alexa.utter(SAID[2]));
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
    await alexa.intend(CHAT, { raw_input: "hello" });
    const ended = await alexa.endSession();
    assert.deepStrictEqual(ended.response.outputSpeech, undefined);
  });
});

// ask-sdk-test lints each response as certification would: an open session asks something, a closed one does not.
const { AlexaTest, IntentRequestBuilder, LaunchRequestBuilder, SessionEndedRequestBuilder } = require("ask-sdk-test");

const settings = {
  appId: "amzn1.ask.skill.00000000-0000-0000-0000-000000000000",
  userId: "amzn1.ask.account.TESTUSER",
  deviceId: "amzn1.ask.device.TESTDEVICE",
  locale: "en-US",
};

const skill = async (event) => {
  const body = JSON.stringify(event);
  const answer = await fetch(process.env.SKILL_URL, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (answer.status !== 200) {
    throw new Error(`${answer.status} ${await answer.text()}`);
  }
  return answer.json();
};

const open = { elicitsSlot: "raw_input", elicitsForIntent: "ChatIntent", shouldEndSession: false };
const builtIn = (name) => ({ request: new IntentRequestBuilder(settings, `AMAZON.${name}Intent`).build() });
// A reply is the model's own: it need not be a question.
const chat = (request) => ({ ...open, request, ignoreQuestionCheck: true, says: (speech) => /\w/.test(speech) });
const say = (words) => chat(new IntentRequestBuilder(settings, "ChatIntent").withSlot("raw_input", words).build());

describe("ask-sdk-test", () => {
  new AlexaTest(skill, settings).test(
    [
      { ...open, request: new LaunchRequestBuilder(settings).build() },
      say("do you like music"),
      say("me too, jazz is great"),
      chat(builtIn("Yes").request),
      say("i saw a comedy"),
      chat(builtIn("No").request),
      { ...open, ...builtIn("Help") },
      say("i have a cat"),
      chat(builtIn("Repeat").request),
      { ...open, ...builtIn("StartOver") },
      say("what do you do"),
      { ...open, ...builtIn("Fallback") },
      { ...builtIn("Stop"), shouldEndSession: true, repromptsNothing: true },
    ],
    "holds a conversation of ten turns",
  );
  new AlexaTest(skill, settings).test(
    [say("music"), { request: new SessionEndedRequestBuilder(settings, "USER_INITIATED").build(), saysNothing: true }],
    "starts with what was said and ends without a word",
  );
});

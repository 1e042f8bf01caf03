"""The fixed safety answers, in several wordings, for when nothing may be generated.

The crisis lines were checked on 25 November 2026 against these pages:
    US  988       https://health.wyo.gov/publichealth/prevention/wivpp/suicide-prevention/
                  988-suicide-crisis-lifeline
    CA  988       https://www.newswire.ca/news-releases/
                  government-of-canada-launches-three-digit-suicide-crisis-helpline-896472116.html
    GB  116 123   https://www.samaritans.org/how-we-can-help/contact-samaritan/
    AU  13 11 14  https://lifelineh2h.org.au/get-help/telephone-crisis-support/faqs/
    IN  14416     https://theshillongtimes.com/2025/02/07/
                  tele-manas-mental-health-helpline-handles-over-18-1-lakh-calls-centre/
For any other locale no number is given.
"""

from __future__ import annotations

# By locale. The skill supports exactly these locales, so none lacks a crisis line.
LINES = {
    "en-US": "In the United States you can call or text 9 8 8, "
    "the Suicide and Crisis Lifeline, at any hour.",
    "en-GB": "In the UK you can call Samaritans, free, day or night, on 1 1 6, 1 2 3.",
    "en-CA": "In Canada you can call or text 9 8 8, the Suicide Crisis Helpline, at any hour.",
    "en-AU": "In Australia you can call Lifeline on 13, 11, 14, at any hour.",
    "en-IN": "In India you can call Tele MANAS, free, on 1 4 4 1 6, at any hour.",
}
NO_LINE = "A crisis line in your country, a doctor, or somebody you trust can be with you in this."

CRISIS = (
    "I'm really sorry that it is this hard. You matter, and you don't have to go through it "
    "alone. {line} "
    "If you are in danger right now, please call your emergency number. Is there somebody near "
    "you whom you can talk to?",
    "Thank you for telling me. I'm only a machine, but there are people who want to listen. {line} "
    "If it is urgent, please call your emergency number now. Who could be with you today?",
)
TOPICS = {
    "medical": (
        "I'm not a doctor, and I could be wrong, so please ask one, or a pharmacist. If it is "
        "urgent, call your emergency "
        "number. How are you feeling otherwise?",
        "That is a question for a doctor or a pharmacist, not for me. If it feels urgent, please "
        "call your emergency number. "
        "Do you want to talk about something else meanwhile?",
    ),
    "legal": (
        "I'm no lawyer, and this matters too much for a guess. A lawyer or a legal aid office can "
        "tell you. "
        "What else is on your mind?",
        "For that you want somebody who knows the law where you live. I would only be guessing. "
        "Shall we talk about something else?",
    ),
    "financial": (
        "I can't give advice about money. Somebody qualified, who knows your situation, can. "
        "What else would you like to talk about?",
        "About money you should ask somebody qualified, not a chatting machine. What would you "
        "like to talk about instead?",
    ),
    "sorrow": (
        "I'm sorry that it feels like that. I'm only a machine, but I'm listening. Is there "
        "somebody you could tell, too?",
        "That sounds heavy, and I'm sorry. It can help to tell somebody you trust. Would you like "
        "to talk about it?",
    ),
    "personal": (
        "I don't know such things, about you or anybody, and please don't tell them to me. What "
        "would you like to talk about?",
        "Numbers, addresses and passwords are better kept to yourself. I have none to give. What "
        "shall we talk about instead?",
    ),
}
CALM = (
    "I'd rather not go there. What else would you like to talk about?",
    "Let's keep it friendly. Is there a movie or a song that you like?",
    "I won't say anything to that. Tell me about something you enjoy?",
    "Let's talk about something else. How was your day?",
)
NO_SIDE = (
    "I have no side in that. What else is on your mind?",
    "I'd rather leave that to you. What would you like to talk about?",
    "That's not for me to say. Shall we talk about something else?",
)

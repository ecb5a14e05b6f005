"""The words that the kiosk's training dialogues are made of. `(a|b)` is a choice, `{item}` a slot.

`PHRASINGS` are trained on. `DEV_PHRASINGS` and `HELD_PHRASINGS` use other words or another order and never are: what failed on
the first was looked at while the data was made, the second is for the test alone. A sentence of either that the training
forms could also make is refused there (`make_kiosk_dialogues`).
"""

from typing import Final

_ASK = (
    "(tell me|tell us|can you tell me|could you tell me|would you tell me|can you say|do you know|please tell me|i want to know"
    "|i would like to know|we would like to know|i need to know|let me know|do you happen to know|any idea|i wonder|i was wondering|may i ask"
    "|can i ask|could i ask you|say|just tell me|are you able to tell me|i am asking|i have to know|maybe you know)"
)
_GIVE = "(tell me|give me|show me|say|read me|can you give me|could you tell me|i need|i want|i would like|please give me|let me have|may i have|what is)"
_WANT = "(i need|i want|i would like|i am looking for|we need|i am searching for|i have to get|i came for|i am here for|i would love|we are looking for|i could use)"
_GET = "(find|get|see|buy|pick up|grab|look for|take|fetch)"
_NOW = "(right now|now|at the moment|today|just now|currently|)"
_PARTS = "(parts|pieces|components|units|work pieces|items)"

PHRASINGS: Final[dict[str, tuple[str, ...]]] = {
    "where": (
        "where is the {item}", "where is the {item}", "where is the {item}", "where can i find the {item}", "where can i find the {item}",
        "where (is|are) (the|your|a|my|) {item}", "where (exactly|) (do|can|could|would|will|should|must) (i|we|people) " + _GET + " (the|a|your|) {item}",
        "where (do|did|would) (you|they) (keep|have|put|store|sell|hide|place|stock) (the|your|) {item}", _WANT + " (the|a|your|) {item}",
        _ASK + " where (the|a|your|) {item} (is|are|can be found|is kept|stands|lies|went)",
        _ASK + " where (i|we) (can|could|will|) " + _GET + " (the|a|your|) {item}", _ASK + " where you (keep|have|put|store|hide|sell) (the|your|) {item}",
        _ASK + " where to " + _GET + " (the|a) {item}", _WANT + " (the|a|) {item} where (is it|do i go|can i find it|must i go|are they)",
        "in (which|what) (place|corner|area|part|section|row|aisle) (is|are) (the|your) {item}", "(which|what) (shelf|aisle|zone|place|corner|row|side) (is|has|holds|carries) the {item} (in|on|)",
        "how (do|can|would) i (find|get to|reach|come to) (the|your) {item}", "(please|can you|could you|would you|) (find|show|point out) (me|) (the|a|your) {item}",
        "(tell me the|what is the|) (location|place|position|spot) (of|for) (the|your) {item}", "i (can not|can not seem to|could not|do not) (find|see) (the|a|your|any) {item}",
        "where (has|did|have) the {item} (gone|go|moved to|been put)", "(take|lead|guide|bring|send|walk) me to (the|your) {item}", "where (might|would|could|should|can) the {item} be (found|)",
        "(is|are) the {item} (here|near here|around here) somewhere", "what (place|spot|corner) is the {item} (at|in)", "{item} where (is|are) (it|that|they)", "the {item} where is (it|that)",
        "on (which|what) (side|shelf|wall) (is|are|do you have|do i find) the {item}", "(where|in which direction) (do|must|should|can) i (go|walk|look|turn) (for|to find|to get) (the|a) {item}",
        "(someone|my friend|my boss) (sent|asked) me for (the|a) {item} where is it", "where abouts (is|are) (the|your) {item}", "(looking|searching) for (the|a|your) {item}", "where do they have the {item}",
        "(and|so|okay) where (is|are) (the|your) {item}", "(can|could) (you|someone) (help me|help) (find|get) (the|a) {item}",
    ),
    "price": (
        "how much is the {item}", "how much is the {item}", "how much is the {item}", "what does the {item} cost", "what does the {item} cost",
        "how much (is|are|does|do|will) (the|a|one|your|) {item} (cost|be|cost me|)", "what (is|was|are) (the|your) (price|cost|prices) (of|for|on) (the|a|one|your|) {item}",
        "(what|how much) (will|would|do|must|should|did) (i|we) (pay|have to pay|spend|need to pay) for (the|a|one|your) {item}", _GIVE + " the (price|cost) (of|for) (the|a|your|one) {item}",
        _ASK + " (how much|what) (the|a|one|your|) {item} (is|costs|would cost|will cost|is worth|comes to)", _ASK + " (what|how much) (i|we) (pay|have to pay|must pay|would pay) for (the|a|one) {item}",
        _ASK + " the (price|cost) (of|for) (the|a|one) {item}", _ASK + " how (expensive|costly|cheap|dear) the {item} is", "(price|cost) (of|for) (the|a|one|) {item}", "how (expensive|costly|cheap|dear) is (the|a|your|one) {item}",
        "what (do|are|would|did) you (charge|ask|asking|want|take) for (the|a|one|your) {item}", "how many euros (is|for|does|are) (the|a|one) {item} (cost|)", "what is (the|a|one|your) {item} (selling for|priced at|worth|sold for)",
        _ASK + " what you (charge|ask|want|take) for (the|a) {item}", "(how much|what) (for|about) (the|a|one|your) {item} (in euros|)", "what (price|cost) (is|has|does) the {item} (have|)",
        "(how much money|how many euros|how much cash) (do i need|does it take|must i bring|will i need) for (the|a) {item}", "{item} how much (is it|is that|does it cost|)", "the {item} what does (it|that) cost",
        _WANT + " (the|a) {item} how much (is it|is that|does it cost|will it be|)", _WANT + " (the|a) {item} what (does it cost|is the price|do i pay)", "i (want|would like|am going) to (buy|get|purchase) (the|a) {item} how much (is it|do i pay|)",
        "(is|are) (the|a) {item} (expensive|cheap|costly)", "what (would|will|does) (a|the|one) {item} (cost|run) (me|us)", "(at what price|for what price|at which price) (do you sell|can i get|is) the {item}", "(and|so|okay) how much is the {item}",
        "what (kind of|sort of) price (is|has) the {item}", "(does|do) the {item} cost (much|a lot)",
    ),
    "in_stock": (
        "is the {item} in stock", "is the {item} in stock", "is the {item} in stock", "(is|are) (the|your|a|any|there) {item} (in stock|available|on stock|there|here|still there)",
        "(do|would|can) you (have|stock|carry|sell|offer|keep) (the|a|any|some|) {item} (in stock|here|" + _NOW + "|)", "have you (still|) got (a|any|some) {item} (in stock|here|left|)", "have you any {item}",
        "(is|are) there (a|any|still a|still any|some|one) {item} (left|in stock|available|here|)", "(can|could|may) (i|we) (still|) (buy|get|have|order|take) (the|a|one|some) {item} (here|" + _NOW + ")",
        "do you still (have|sell|carry|keep) (the|a|any|) {item}", "(any|a|some) {item} (in stock|left|available|here|there)", _ASK + " (if|whether) (the|a|any|your) {item} (is|are) (in stock|available|there|left|still there)",
        _ASK + " (if|whether) you (have|sell|carry|still have|stock) (the|a|any|some|) {item}", _ASK + " (if|whether) (i|we) (can|could) (get|buy|have) (the|a) {item} (here|today|)",
        "(can|could|would|please|) (you|) (check|see|look|find out) (if|whether) (the|a) {item} is (in stock|available|there|left)", "check the (stock|availability) (of|for) the {item}", "is the {item} (still|) (there|available|in stock|sold out|gone|all gone) " + _NOW,
        "(did|have) you (run out of|sell out of|sold all|sold out) (the|) {item}", "are you out of {item}", "{item} (is it|are they) (in stock|available|there)", "(is|are) (the|your) {item} (to be had|for sale|on sale)",
        _WANT + " (the|a) {item} (do you have it|do you have one|is it in stock|have you got one|is it there)", "(and|so|okay) is the {item} (in stock|available)", "(got|have) (a|any) {item}", "(do|did) any {item} remain",
    ),
    "how_many": (
        "how many {item} do you have", "how many {item} do you have", "how many {item} do you have", "how many {item} (are|is) (left|in stock|there|available|here|in the shop|remaining) " + _NOW,
        "how many (of the|of|of your|more) {item} (do you have|are left|have you got|are there|are in stock|remain|can you sell)", "how many {item} (have you got|can i buy|can i get|can i have|can you give me|did you keep)",
        _GIVE + " the (number|count|stock|quantity|amount) of (the|your|) {item}", _ASK + " how many (of the|) {item} (you have|are left|there are|are in stock|remain|you have got|you still have|are there)",
        "how much stock (of|for) (the|) {item} (is there|do you have|is left|have you got)", "(count|number|stock|quantity|amount) of (the|) {item}", "how many (pieces|units|copies) of (the|) {item} (do you have|are there|are left|remain|are in stock)",
        "(what|which) (stock|number|quantity|amount|count) of (the|) {item} (do you have|is left|is there|have you got|remains)", "how many {item} (remain|do you still have|do you keep|do we have|do they have|does the shop have)",
        "{item} how many (are there|do you have|are left|)", "(do you have|are there) (many|enough|a lot of|plenty of) {item}", "(please|can you|could you|) count (the|your) {item}", "(and|so|okay) how many {item} (do you have|are there)",
        "what is the (stock|number|count) (for|of) (the|) {item}", "how (big|high|low) is the (stock|number) of {item}", "(have you got|do you have) (two|three|five|ten|a dozen) {item}",
    ),
    "it_where": ("where is it", "where is it", "(and|so|okay|) where (can|do|could|will) i (find|get|see) (it|that|them)", "(and|) where do you (keep|have|put) (it|them)", "and where is (it|that)", "(and|) where (exactly|)", "in (which|what) (place|corner) is it", "where (are they|is that)"),
    "it_price": ("how much is it", "how much is it", "(and|) what does (it|that) cost", "and how much (is it|does it cost|is that)", "(and|what is|) the price", "what is the price (of it|of that|)", "how much", "(and|) what do i pay (for it|for that|)", "how expensive is (it|that)"),
    "it_in_stock": ("is it in stock", "is it in stock", "do you have it", "and is it (in stock|available|there)", "is (it|that) available", "have you got it", "do you (still|) have (it|that|them) (in stock|)", "is (it|that) sold out", "can i (buy|get|have) it"),
    "it_how_many": ("how many do you have", "how many do you have", "(and|so|) how many (are there|do you have|are left|are in stock)", "how many are left", "how many of (them|it|those) (do you have|are there|are left)", "how many (pieces|)", "and how many"),
    "opens": (
        "when do you open on {day}", "when do you open on {day}", "when do you open on {day}", "what time do you open on {day}", "what time do you open on {day}",
        "(when|at what time|what time|at which hour|how early) (do|does|will|would|can) (you|the shop|the store|it|they|the kiosk) open (on|this|) {day}", "(from when|since when|from what time|from which hour) (are you|is the shop|is it) open (on|) {day}",
        _ASK + " (when|what time|at what time|how early) (you|they|the shop|the store) (open|opens|will open|are opening) (on|) {day}", "how early (do|can|may) (you|i|we) (open|come|shop|come in) (on|) {day}", "(opening time|opening hour|the opening) (on|for|of) {day}",
        "(when|what time) (is|does) (the|your|) opening (time|) (on|start on) {day}", "(when|from what time) (can|may|could) (i|we) (come|enter|visit|come by|drop by) (in|) (on|this) {day}", "(on|for|this) {day} (when|what time|how early) do you open",
        "{day} (when|what time) (do you|does the shop|do they) open", "(when|what time) (are you|is the shop) (opening|opened) on {day}", "when does the (shop|store|kiosk|place) open its doors on {day}", _GIVE + " (the|your) opening (time|hour) (on|for) {day}",
        "(and|so|okay) when do you open on {day}", "when do (people|you) (start|begin) (work|selling|) on {day}", "when does (the day|work|business) (start|begin) on {day}",
    ),
    "closes": (
        "when do you close on {day}", "when do you close on {day}", "when do you close on {day}", "what time do you close on {day}", "what time do you close on {day}",
        "(when|at what time|what time|at which hour|how late) (do|does|will|would) (you|the shop|the store|it|they|the kiosk) (close|shut|end|finish) (on|this|) {day}", "(until|till) (when|what time|which hour|how late) (are you|is the shop|is it|do you stay) open (on|) {day}",
        _ASK + " (when|what time|at what time|how late) (you|they|the shop|the store) (close|closes|shut|will close|are closing) (on|) {day}", _ASK + " (until|till) (when|what time) you are open (on|) {day}", "how (late|long) (are you|is the shop|do you stay) open (on|) {day}",
        "(closing time|closing hour|the closing) (on|for|of) {day}", "(when|what time) is (the|your|) closing (time|) on {day}", "how (late|long) (can|may|could) (i|we) (come|shop|stay|visit|come in) (on|this) {day}", "(on|for|this) {day} (when|what time|how late) do you (close|shut)",
        "{day} (when|what time) (do you|does the shop|do they) (close|shut)", "(till|until) (when|what time) (do you open|are you here|can i come|may i shop) on {day}", "(when|what time) (are you|is the shop) closing on {day}", _GIVE + " (the|your) closing (time|hour) (on|for) {day}",
        "(and|so|okay) when do you close on {day}", "when (must|do) (i|we) (leave|be out|go) on {day}", "when does (the day|work|business) (end|stop) on {day}", "when do you (lock|go home|stop) on {day}",
    ),
    "hours": (
        "what are your (hours|opening hours|opening times|business hours|times) (on|for) {day}", "(hours|opening hours|opening times|business hours) (on|for|of) {day}", "(when|what hours|at what times) (are you|is the shop|is it) open (on|) {day}",
        _GIVE + " (the|your) (hours|opening hours|times|business hours) (on|for|of) {day}", _ASK + " (when|what hours|at what times) (you are|the shop is) open on {day}", "(what|which) are the (hours|times|opening times) (on|for|of) {day}", "when is the (shop|store|kiosk) open on {day}",
        "from when (to|until|till) when are you open on {day}", "(when|at what times|what times) (can|could|may) (i|we) (visit|shop|come|buy) on {day}", "{day} (hours|opening hours|times)", "on {day} when are you open", "(and|so|okay) when are you open on {day}", "(how|what) about {day}",
    ),
    "open_on": (
        "are you open on {day}", "are you open on {day}", "(is|will) the (shop|store|kiosk|place) (be|) (open|closed) on {day}", "(do|will|does) (you|they|the shop) open (on|) {day}", "(are|will) you (be|) (open|closed|here) on {day}", "(is it|are you) (open|closed|shut) (on|this) {day}",
        "(can|could|may) (i|we) (come|shop|visit|drop by|buy something) on {day}", "(do|will) you (work|sell|be here) on {day}", _ASK + " (if|whether) (you are|the shop is|you will be) open on {day}", "(is|would) (anybody|someone) (be|) here on {day}", "open on {day}", "(and|so|okay) are you open on {day}",
        "{day} are you open", "on {day} are you (open|closed)", "do you (also|even) open on {day}",
    ),
    "which_day": (
        "when do you open", "when do you close", "what are your (hours|opening hours|opening times|business hours)", "how (long|late) are you open", "(what time|when) do you (open|close|shut)", "(when|until when) are you open", "(opening hours|opening times|hours)",
        _GIVE + " the opening (hours|times)", "are you open", "(when|what time) (is|does) the (shop|store|kiosk) (open|close)", _ASK + " when you (open|close|are open)", "how early do you open", "closing time", "when is closing time",
    ),
    "zone": (
        "{zone}", "{zone}", "{zone}", "what is at the {zone}", "what is at the {zone}", "what is at the {zone}", "what (is|do you have|can i find|do i find|do you keep|can i buy|is there|is kept|is sold|do you sell|will i find|have you got|is on sale) (at|in|on) the {zone}",
        _ASK + " what (is|i find|you have|you keep|there is|you sell|stands) (at|in|on) the {zone}", "(tell|show) me (what is|what i find) at the {zone}", "what (things|stuff|goods|products|articles) (are|is|do you have|can i find|do you keep) (at|in|on) the {zone}",
        "what (do|would|could|can|will) (i|we) (see|find|get|buy) (at|in|on) the {zone}", "{zone} what is (there|that|it)", "what (does|about|has) the {zone} (have|hold|)", "(and|so|) (at|in) the {zone}", "the {zone}", "(which|what kind of) (things|goods|products|articles) are (at|in) the {zone}",
        "what (belongs|goes|stands|lies|hangs) (at|in|on) the {zone}", "(at|in|on) the {zone} what (is there|do you have|do i find)", "(i am|we are|i stand) (at|in) the {zone} what (do i see|do i find|can i buy)", "(show|read) me the {zone}", "{zone} please",
        "who or what is at the {zone}", "is there (anything|something) at the {zone}", "what is (there|) to (see|find|buy) at the {zone}",
    ),
    "qc_failed": (
        "how many parts failed today", "how many parts failed today", "how many parts failed today", "how many " + _PARTS + " (have|) failed (today|so far|this day|until now|)", "how many (rejects|bad parts|failures|defects|faulty parts|defective parts) (today|did we have today|are there today|so far|were there|)",
        _GIVE + " the (number|count|amount) of (failed parts|failures|rejects|bad parts|defects) (today|so far|)", "how many " + _PARTS + " (were|are|got|have been) (bad|rejected|defective|thrown out|faulty|broken|not good) (today|so far|)", "(number|count) of (failed|bad|rejected|faulty) " + _PARTS + " (today|)",
        "(did|have) any " + _PARTS + " (fail|failed) (today|)", "how many (failed|did not pass|were faulty|were rejected|were bad) (today|)", "(failed|rejected|bad|faulty) parts (today|)", "how many " + _PARTS + " did (we|you|the station|the camera) (reject|fail|throw out) (today|)",
        _ASK + " how many " + _PARTS + " (failed|were bad|were rejected|have failed|were faulty|did not pass) (today|so far|)", "how (often|many times) did a part fail today", "(and|so|okay) how many failed", "were there (any|many) (rejects|failures|bad parts) (today|)", "how many (did|have) (we|you) (rejected|reject|lost)",
    ),
    "qc_passed": (
        "how many parts passed today", "how many parts passed today", "how many parts passed today", "how many " + _PARTS + " (have|) passed (today|so far|this day|until now|)", "how many (good parts|okay parts|good ones) (today|did we make today|are there today|so far|)",
        _GIVE + " the (number|count|amount) of (passed|good|accepted|okay) parts (today|so far|)", "how many " + _PARTS + " (were|are|have been) (good|okay|accepted|without a fault|all right) (today|so far|)", "(number|count) of (passed|good|accepted) " + _PARTS + " (today|)",
        "how many (passed|passed the inspection|passed the test|were good|were accepted) (today|)", "(passed|good|accepted) parts (today|)", "how many " + _PARTS + " did (we|you|the station|the camera) (pass|accept|let through) (today|)",
        _ASK + " how many " + _PARTS + " (passed|were good|were accepted|have passed|are good) (today|so far|)", "(did|have) (any|all|many) " + _PARTS + " (pass|passed) (today|)", "(and|so|okay) how many passed", "how (often|many times) did a part pass today",
    ),
    "qc_not_inspected": (
        "how many parts were not inspected today", "how many parts were not inspected today", "how many parts were not inspected today", "how many " + _PARTS + " (were|are|have been) (not inspected|not checked|missed|skipped|left out|uninspected|never inspected|not seen|not tested) (today|so far|)",
        "how many " + _PARTS + " (did you|did we|did the camera) (not inspect|miss|skip|not check|not see|leave out) (today|)", "(number|count) of (parts not inspected|missed parts|skipped parts|uninspected parts|unchecked parts) (today|)", "(and|so|okay) how many were not inspected",
        "how many (uninspected|unchecked|skipped|missed) parts (today|are there today|did we have|so far|)", _GIVE + " the (number|count|amount) of (parts not inspected|missed parts|uninspected parts|skipped parts) (today|)", "parts not inspected (today|)",
        _ASK + " how many " + _PARTS + " (were not inspected|were missed|were skipped|were not checked|are not inspected) (today|so far|)", "(were|are) there (any|many) parts not inspected (today|)", "how many (were|are) (not inspected|not checked|skipped|missed) (today|)", "did (we|you) (miss|skip) any parts (today|)",
    ),
    "sensor": (
        "what is the {quantity} of the {place} now", "what is the {quantity} of the {place}", "what is the (current|live|present|actual|) {quantity} (of|at|in|on) the {place} " + _NOW,
        _GIVE + " the (current|) {quantity} (of|at|in) the {place} " + _NOW, "(check|measure|read|look at|get) the {quantity} (of|at|in|on) the {place} (please|now|)", "how (high|low|big|strong|much) is the {quantity} (of|at|in) the {place} (now|right now|)",
        "{quantity} (of|at|in) the {place} (now|please|right now|)", "what (does|is) the {quantity} (sensor|reading|meter|gauge) (of|at|on) the {place} (say|now|show|)", _ASK + " (what|how high) the {quantity} (of|at|in) the {place} is (now|right now|)",
        "what {quantity} (do we have|is there|is measured|does the sensor show) (at|in) the {place}", "(and|so|okay) the {quantity} of the {place}", "the {place} what is its {quantity}", "is the {quantity} of the {place} (okay|normal|too high|high|fine)",
    ),
    "get_time": (
        "what time is it", "what time is it", "what is the time", "(can|could|would) you tell (me|us) the time", "do you know (what time it is|the time)", "tell me the time", "what time is it (now|right now|please)", "how late is it", "i need (to know|) the time", "the time please", "what does the clock say", "is it late",
        "what is the (exact|current|right) time", "(say|give me|show me) the time", "what time do we have", "what hour is it", "do you have a clock",
    ),
    "call_staff": (
        "(can|could|may) i (talk|speak) to (a person|someone|somebody|a human|the staff|the manager|an employee)", "i need (help|a person|someone|somebody|assistance|the staff|a human)", "(call|get|send|fetch|bring) (me|) (a person|someone|the staff|the manager|help|an employee)",
        "i (want|would like|have) to (talk|speak) to (a person|someone|the staff|the manager|a human|your boss)", "is (someone|anybody|anyone) (here|there|around)", "(can|could) (someone|somebody|anyone) (help|assist|serve) me", "where is (the staff|everybody|the manager|an employee)", "(a person|a human|help|staff) please",
        "i do not want to talk to a (machine|computer|robot)", "(call|get) me a (human|real person)", "please call (the staff|someone|the manager)", "who can (help|serve) me", "get someone", "i want a real person",
    ),
    "hello": ("hello", "hello", "hi", "hey", "good (morning|afternoon|evening|day)", "hello there", "hi there", "hey there", "greetings", "good day to you", "hello (kiosk|everybody|computer|again|my friend)", "hi (again|everyone)", "(good morning|good evening) (to you|everybody)", "welcome", "nice to meet you", "hello how do you do", "hey kiosk"),
    "thanks": ("thank you", "thank you", "thanks", "thank you (very much|so much)", "thanks a lot", "many thanks", "great thanks", "(okay|perfect|good|great) thank you", "that is (great|all|perfect) thank you", "thank you (for your help|for that|for the information|kiosk)", "thanks (again|for everything|for that)", "i thank (you|you all)", "that (helps|helped|was helpful)", "very kind (of you|)", "(great|perfect|wonderful) thanks", "you are (very kind|a great help)", "much appreciated"),
    "bye": ("goodbye", "goodbye", "bye", "bye bye", "see you", "see you later", "have a nice day", "good night", "i (have to|must|will) (go|leave) (now|)", "until next time", "see you (soon|again|next week)", "(okay|well|thanks) (bye|goodbye)", "good bye (everybody|kiosk|then)", "take care", "bye (now|then|for now)", "(have|i wish you) a (good|nice) (day|evening|weekend)", "that was all bye", "i am (leaving|going) (now|)", "farewell", "see you around"),
    "who": (
        "who are you", "who are you", "what are you", "what is your name", "who am i (talking|speaking) (to|with)", "are you a (robot|computer|machine|person)", "what is (this|this shop|this place) (called|)",
        "what is the name of (this|the) (shop|store)", "introduce yourself", "tell me (about yourself|who you are|your name)", "(are you|is this) (human|real|a human|a machine|an assistant)", "do you have a name", "who is (this|speaking|talking)", "what (shop|store|kiosk) is this", "what do they call you", "which (shop|store) (is this|am i in)", "(say|give me) your name", "what (kind of|) (machine|thing) are you",
    ),
    "help": ("help", "what can (i ask|you do|i ask you|you tell me)", "how can you help me", "what do you know", "what (questions|things) can i ask", "how does this work", "what are you able to do", "(how|what) (can|could|may) i ask (you|)", "what (can|could) you (help|tell|answer) (me|) (with|about|)", "which questions can you answer", "how (do|can) i (use you|use this)", "(explain|show me) (how this works|what you can do)", "what is this for", "what are you (for|good for)", "tell me what you (know|can do)", "what may i ask", "help me please"),
    "okay": ("yes", "no", "stop", "yes", "no", "okay", "all right", "(yes|no) (please|thank you)", "that is (okay|fine|good)", "stop (it|that|talking|please)", "no (never mind|that is all|nothing)", "yes (that one|exactly|of course)", "be quiet", "wait", "forget it", "nothing", "i see", "fine", "good", "that is right"),
}  # fmt: skip

HELD_PHRASINGS: Final[dict[str, tuple[str, ...]]] = {
    "where": (
        "in what spot would i find the {item}", "where have you got the {item}", "i am after the {item} where do i go", "where does the {item} live", "could you direct me to the {item}", "where are you keeping the {item} these days",
        "is there a place where i find the {item}", "where would i have to go for the {item}", "the location of the {item} please", "sorry where was the {item} again", "where at the shop have you put the {item}", "how far is it to the {item} and where is it",
    ),
    "price": (
        "how much are you selling the {item} for", "what will the {item} cost me", "what do i owe you for the {item}", "could you give me the price for the {item}", "i would like to know what you charge for the {item}", "what is the current price of the {item}",
        "and the {item} how much is that one", "for how much do you sell the {item}", "how much should i pay if i took the {item}", "what am i going to pay for the {item}", "the price of the {item} please", "how much did you say the {item} was",
    ),
    "in_stock": (
        "are there any {item} left in the shop", "can you tell me if you have a {item}", "do you happen to have a {item}", "could i still get a {item} today", "do you have the {item} here", "would there be a {item} in stock", "i need a {item} do you have one",
        "is the {item} still to be had", "would the {item} be available",
    ),
    "how_many": (
        "how many of those {item} do you still have", "what is your stock of {item}", "how many {item} are there right now", "could you count the {item} for me", "tell me the number of {item} in stock", "how many {item} have you got left",
        "how many {item} would you have for me", "what number of {item} have you got", "say how many {item} there are",
    ),
    "it_where": ("and where would i find that", "where did you say it was", "okay where is it then"),
    "it_price": ("and how much would it cost", "what is it worth", "how much did you say it was"),
    "it_in_stock": ("and do you have that one here", "is that still there", "would it be available"),
    "it_how_many": ("and how many of those are there", "how many have you got of it", "how many are there of them"),
    "opens": (
        "what time will you open on {day}", "at which time does the store open on {day}", "when is opening time {day}", "when can people come in on {day}", "how early are you open on {day}", "tell me the opening time for {day}", "from what hour can i come on {day}", "{day} morning when do you open",
    ),
    "closes": (
        "what time will you close on {day}", "at which time does the store close on {day}", "when is closing time {day}", "how late may one come on {day}", "tell me the closing time for {day}", "until what time can i come on {day}", "{day} evening when do you close", "when is it too late to come on {day}",
    ),
    "hours": ("tell me your hours on {day}", "what hours do you have {day}", "what times do you keep on {day}", "opening and closing time on {day}", "between which hours are you open on {day}", "how are your hours on {day}"),
    "open_on": ("is {day} a day when you are open", "could i come by on {day}", "would the shop be open on {day}", "do you do business on {day}", "would you be closed on {day}", "are you there for us on {day}"),
    "which_day": ("at which hours are you open", "when could i come to the shop", "how late do you stay open", "what are the hours of the shop"),
    "zone": ("what would i get at the {zone}", "what kind of things are at the {zone}", "who is at home at the {zone}", "can you tell me what stands at the {zone}", "what is it that you have at the {zone}", "and what about the {zone}", "which products can i see at the {zone}", "i walk to the {zone} what do i find"),
    "qc_failed": ("what number of parts failed today", "how many parts have been failing today", "how many parts did you have to reject", "how many bad pieces have there been today", "did many parts fail today", "of the parts of today how many failed"),
    "qc_passed": ("what number of parts passed today", "how many parts have been passing today", "how many parts did you find good", "how many good pieces have there been today", "did many parts pass today", "of the parts of today how many passed"),
    "qc_not_inspected": ("what number of parts was not inspected today", "how many parts have you not inspected", "how many parts got no inspection", "how many parts of today are still uninspected", "did you leave any parts uninspected today", "of the parts of today how many were not inspected"),
    "sensor": ("would you read the {quantity} at the {place}", "what value has the {quantity} of the {place}", "how is the {quantity} at the {place} doing", "do you see the {quantity} of the {place}", "{place} {quantity} please", "i would like to hear the {quantity} of the {place}", "is the {quantity} in the {place} high"),
    "get_time": ("what time might it be", "could i have the time please", "what time have we got now", "is there a clock that says the time"),
    "call_staff": ("let me talk to somebody", "could a person come here", "i would rather speak with a human", "can you get someone to help me"),
    "hello": ("hello kiosk nice to see you", "good morning everyone", "hi my friend", "oh hello"),
    "thanks": ("thank you that was all", "thanks that was great", "okay many thanks", "thank you for helping me"),
    "bye": ("goodbye then", "okay see you", "i am off bye", "bye and thanks"),
    "who": ("tell me what your name is", "what should i call you", "am i talking to a machine", "who would you be"),
    "help": ("what could i ask you", "which things do you know", "what is it you can do", "i need to know what you can do"),
    "okay": ("no that was it", "yes okay", "please stop", "okay never mind"),
}  # fmt: skip

DEV_PHRASINGS: Final[dict[str, tuple[str, ...]]] = {
    "where": (
        "whereabouts is the {item}", "could you point out where you keep the {item}", "which way to the {item}", "i was told you have a {item} where would that be",
        "where in the shop is the {item}", "please show me the way to the {item}", "where should i look for the {item}", "where is your {item} kept",
    ),
    "price": (
        "what would the {item} set me back", "how much do you want for the {item}", "what is the {item} going for", "tell me what the {item} costs",
        "how much money is the {item}", "what is the price tag on the {item}", "if i buy the {item} what do i pay", "how much would the {item} be",
    ),
    "in_stock": (
        "would you happen to have the {item} in stock", "is the {item} something you have at the moment", "have you still got the {item}",
        "is there a {item} i can buy", "i wonder if the {item} is in stock",
    ),
    "how_many": (
        "how many {item} are on the shelf", "what quantity of the {item} is there", "how many of the {item} could i take", "i want to know how many {item} you have",
        "how large is your stock of {item}", "give me the number of {item} you have",
    ),
    "it_where": ("so where would it be", "whereabouts is it"),
    "it_price": ("and what is it going for", "how much would that be"),
    "it_in_stock": ("and have you got that in stock", "so is it there"),
    "it_how_many": ("and how many have you got", "so how many are there"),
    "opens": (
        "what is your opening time on {day}", "at what hour do you open on {day}", "when will you be opening the shop {day}", "how soon can i come in on {day}", "what hour does it open on {day}",
        "on {day} at what time does the shop open",
    ),
    "closes": (
        "what is your closing time on {day}", "at what hour do you close on {day}", "when do you shut the doors on {day}", "until what hour is the shop open on {day}", "when will you be closing {day}",
        "on {day} at what time does the shop close",
    ),
    "hours": ("which hours are you open on {day}", "what are the shop hours for {day}", "give me the opening hours of {day}", "during what hours are you open on {day}"),
    "open_on": ("will i find you open on {day}", "are you there on {day}", "is it possible to come on {day}", "do you have the shop open on {day}"),
    "which_day": ("what hours do you have", "until when is the store open", "at what time do you open the shop"),
    "zone": ("what would be at the {zone}", "which goods do you keep at the {zone}", "i am at the {zone} what is here", "what have you got at the {zone}", "tell me about the {zone}"),
    "qc_failed": ("how many pieces did not make it today", "what is the count of rejects today", "how many of the parts have failed up to now", "tell me how many parts failed"),
    "qc_passed": ("how many of the parts have passed up to now", "what is the count of good parts today", "tell me how many parts passed", "how many pieces were fine today"),
    "qc_not_inspected": ("how many parts went without inspection today", "tell me how many parts were not inspected", "how many of the parts did nobody inspect today", "what is the count of parts not inspected"),
    "sensor": ("could you read the {quantity} of the {place} for me", "how is the {quantity} of the {place} at the moment", "what {quantity} does the {place} have now", "i need the {quantity} of the {place}"),
    "get_time": ("could you tell me what time it is", "have you got the time"),
    "call_staff": ("please fetch somebody", "is there a person i could speak to"),
    "hello": ("well hello", "a very good morning"),
    "thanks": ("thanks for your help", "i thank you"),
    "bye": ("so long", "see you tomorrow"),
    "who": ("and who might you be", "may i know your name"),
    "help": ("what sort of questions do you answer", "what can you help me with"),
}  # fmt: skip

SMALL_TALK: Final[dict[str, str]] = {
    "hello": "Hello, welcome to {name}.",
    "thanks": "You are welcome.",
    "bye": "Goodbye, and have a nice day.",
    "who": "I am the voice of {name}, and I can help you find things.",
    "help": "You can ask me about places, prices, stock and opening hours.",
    "okay": "All right.",
}

OFF_TOPIC: Final = (
    "what is the weather (like|) (today|tomorrow|now|outside|)", "how is the weather (today|tomorrow|outside|)", "will it (rain|snow|be sunny|be warm) (today|tomorrow|)", "(tell me|give me) the weather (forecast|report|) (for today|)", "is it (raining|sunny|cold|warm) (outside|today|)",
        "do i need an umbrella (today|)", "the weather (please|forecast|today)", "how (cold|warm) is it outside", "what will the weather be (like|) (today|tomorrow)", "weather",
    "(call|order|get|book|send) me a (taxi|cab)", "(can|could) you (call|order|get) (me|) a (taxi|cab)", "i (need|want|would like) a (taxi|cab)", "a (taxi|cab) please", "please (call|order|get) a (taxi|cab)", "how do i get a (taxi|cab)", "can i (have|get|order) a taxi (here|)", "order a taxi (for me|now|)", "taxi",
    "what is the capital of (france|spain|italy|japan)", "who is the (president|king|prime minister)",
    "tell me a (joke|story|secret)", "sing (me|) a song", "play (some music|the radio|a game)", "how old are you", "do you (love|like|hate) me", "what is (two|five|ten) (plus|times|minus) (two|six|nine)",
    "who won the (game|match|election)", "what is the meaning of life", "where is the (train station|airport|hospital|next bank|bus stop)", "can you (dance|fly|swim|drive)", "what is your favorite (color|song|food|movie)",
    "how do i get to the (airport|city|beach|station)", "order me a (pizza|sandwich|coffee)", "call my (mother|wife|boss|doctor)", "turn on the (light|radio|television|heating)", "what is the news (today|)",
    "how far is the moon", "why is the sky blue", "translate (hello|house|dog) to (french|german)", "what should i (eat|cook|wear|read) (today|tonight|)", "are you married", "do you have (children|a dog|friends)",
    "who is your (boss|father|maker)", "book a (table|flight|room) for (two|me)", "set (an alarm|a timer) (for ten minutes|)", "what is the stock market doing", "i am (sad|hungry|tired|bored)", "i love you",
    "can you lend me (money|a car)", "what do you think about (politics|football|art)", "give me a (discount|refund|job)", "is there a (toilet|parking lot|cafe|playground) (here|)", "do you deliver (to my home|)",
    "can i pay (by card|in cash|with my phone)", "do you have a (newsletter|loyalty card|catalog)", "can i (return|exchange) (it|something)", "where were you (born|made)", "what happened (yesterday|last night)",
    "who wrote (hamlet|this book|the bible)", "how many people live in (china|berlin|this town)", "read me (the paper|my mail|a poem)", "the (cat|dog|bird) is (on the roof|in the garden)", "blah blah blah", "i do not understand (you|this|)",
    "my (car|house|phone) is (broken|old|new)", "how are you", "what are you wearing", "is your (mother|brother) here", "who is there",
)  # fmt: skip

HELD_OFF_TOPIC: Final = (
    "is it going to snow", "what sort of weather will we have", "is the weather good today", "can you check the weather",
    "would you get a taxi for me", "i am going to need a taxi", "could a taxi pick me up", "is there a way to get a taxi",
    "who painted the mona lisa", "how deep is the ocean", "what is for lunch today", "do you speak german", "where can i park my car", "remind me to call my sister", "what is the fastest animal",
    "how many stars are there", "can you write a letter for me", "how was your weekend", "do you believe in ghosts", "who was the first man on the moon", "which team is the best", "what is the square root of nine",
    "i have lost my keys", "could you open the window", "what language is this",
)  # fmt: skip

FILLERS: Final = (
    "kept", "on the shelf", "maybe", "perhaps", "really", "actually", "by chance", "at all", "around here", "over here", "in here", "over there", "these days", "this week", "as well", "too", "also", "again", "for my wife",
    "for my husband", "for a friend", "for work", "for the garden", "for the house", "in general", "for sure", "i guess", "i think", "you know", "if i may", "if possible", "by the way", "in the end", "altogether", "in total",
    "in all", "up to now", "already", "still", "just", "even", "then", "well", "up front", "in your shop", "in this shop", "at your place", "with you", "from you", "to me", "for us", "quickly", "roughly", "about", "only",
    "somehow", "somewhere", "possibly", "exactly", "like", "myself", "yourself", "to go for", "going", "back", "gone", "set", "tag", "count", "way", "that you know of", "as far as you know", "so to speak", "sir", "madam", "my dear", "friend",
)  # fmt: skip
"""Words that change nothing: the model must not take every word that it does not know for the name of a thing."""

LEADS: Final = (
    "excuse me", "hello", "hi", "please", "um", "uh", "hey", "sorry", "well", "so", "okay", "and", "please tell me", "tell me", "i would like to know", "can you tell me", "good morning", "quick question",
    "yes", "now", "then", "oh", "alright", "listen",
)  # fmt: skip
TAILS: Final = ("please", "please", "thanks", "thank you", "now", "again", "then", "today", "for me", "right now")

QUANTITIES: Final = (
    "temperature", "temperature", "pressure", "speed", "humidity", "vibration", "current", "voltage", "power", "level", "weight", "noise", "brightness", "oil level", "air pressure", "belt speed",
)  # fmt: skip
MORE_QUANTITIES: Final = (
    "acidity", "air quality", "altitude", "angle", "battery charge", "carbon dioxide", "charge", "clearance", "cycle time", "density", "depth", "distance", "dust", "energy", "exposure", "feed rate", "force",
    "frequency", "friction", "gap", "hardness", "heat", "height", "length", "light level", "load", "mass", "moisture", "motor current", "output", "phase", "position", "pulse", "purity", "radius", "resistance",
    "rotation", "salinity", "shaft speed", "signal", "smoke", "sound level", "strain", "stress", "suction", "tension", "thickness", "throughput", "tilt", "turbidity", "vacuum", "velocity", "viscosity", "volume",
    "wear", "wind speed", "yield", "dew point", "surface temperature", "oil temperature", "gas pressure", "run time", "stroke", "pitch", "strength", "steam pressure", "tyre pressure", "torsion", "exhaust heat",
)  # fmt: skip
"""For training alone: the test sets draw from `QUANTITIES` and from held-out ones, so that their figures stay comparable."""

SERVICES: Final[dict[str, str]] = {
    "get_time": "the time",
    "call_staff": "a person",
}
"""Tools without arguments: their names and what its line in the prompt says it gives."""

SHOP_KINDS: Final = (
    "Tools", "Hardware", "Supplies", "Store", "Market", "Works", "Shop", "Depot", "Trading", "Center", "Factory", "Goods", "House", "and Sons", "Parts", "Industries", "Home", "Garden",
)  # fmt: skip

ADJECTIVES: Final = (
    "brass", "steel", "wooden", "plastic", "rubber", "copper", "small", "large", "long", "short", "red", "blue", "green", "black", "white", "yellow", "heavy", "light", "electric", "cordless", "garden",
    "kitchen", "wall", "floor", "door", "window", "power", "hand", "safety", "paint", "wood", "metal", "round", "square", "flat", "folding", "digital", "claw", "tape", "pipe", "hex", "cross", "angle", "spring",
    "work", "roof", "water", "gas", "oil", "air", "sand", "iron", "glass", "leather", "cotton", "silver", "gold", "mini", "double", "single", "quick", "soft", "hard", "fine", "rough", "thin", "thick", "wide",
    "adjustable", "galvanised", "stainless", "magnetic", "wireless", "extension", "circular", "measuring", "utility", "spare", "table", "solar", "outdoor", "indoor", "travel", "winter", "summer",
)  # fmt: skip
HELD_ADJECTIVES: Final = (
    "bronze",
    "purple",
    "hollow",
    "curved",
    "portable",
    "ceramic",
    "tall",
    "narrow",
    "nylon",
    "striped",
)

NOUNS: Final = (
    "hammer", "screwdriver", "saw", "drill", "wrench", "pliers", "chisel", "file", "level", "tape", "measure", "nail", "screw", "bolt", "nut", "washer", "hinge", "lock", "key", "handle", "hook", "chain", "rope",
    "cable", "plug", "socket", "switch", "bulb", "lamp", "battery", "charger", "torch", "brush", "roller", "paint", "glue", "filler", "bucket", "ladder", "shovel", "rake", "hose", "pump", "valve", "pipe", "tap",
    "filter", "gasket", "bearing", "gear", "belt", "motor", "bracket", "shelf", "box", "helmet", "glove", "goggles", "mask", "vest", "boot", "knife", "blade", "scissors", "clamp", "vice", "anvil", "axe",
    "mallet", "crowbar", "trowel", "spade", "broom", "mop", "cloth", "sponge", "bag", "basket", "board", "panel", "tile", "brick", "plank", "beam", "post", "fence", "gate", "window", "door", "curtain", "carpet",
    "rug", "chair", "table", "stool", "bench", "cabinet", "drawer", "mirror", "clock", "fan", "heater", "kettle", "toaster", "mixer", "pan", "pot", "plate", "cup", "spoon", "fork", "bottle", "jar", "lid", "tray",
    "adapter", "sensor", "camera", "radio", "speaker", "remote", "timer", "fuse", "cord", "lead", "wire", "solder", "iron", "stapler", "staple", "pencil", "marker", "ruler", "compass", "sander", "grinder", "planer",
    "router", "lathe", "press", "punch", "die", "rivet", "spring", "magnet", "seal", "plaster", "cement", "sand", "gravel", "soil", "seed", "plant", "flower", "tree", "wheel", "tyre", "axle", "trailer", "cart",
    "trolley", "tarp", "tent", "stove", "grill", "coal", "log", "match", "candle", "lantern", "whistle", "bell", "alarm", "sign", "sticker", "label", "ribbon", "string", "needle", "thread", "button", "zip",
    "driver", "cutter", "set", "kit", "holder", "cover", "cap", "stand", "mat", "strip", "bit", "band", "ring", "plane", "square", "spirit level", "tape measure", "hand saw", "light bulb", "door lock",
    "power drill", "paint brush", "screw driver", "tool box", "work light", "garden hose", "air filter", "oil can", "wall plug",
)  # fmt: skip
HELD_NOUNS: Final = (
    "pulley", "tweezers", "spanner", "hatchet", "funnel", "dowel", "wedge", "nozzle", "coupling", "thermostat", "barrel", "pickaxe", "scraper", "winch", "sprinkler", "dimmer", "crate", "hammock", "sieve", "jack",
)  # fmt: skip

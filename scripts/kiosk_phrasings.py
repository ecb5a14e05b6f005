"""The words that the kiosk's training dialogues are made of. `(a|b)` is a choice, `{item}` a slot.

`PHRASINGS` are trained on; `HELD_PHRASINGS` use other words or another order and are for the test only.
"""

from typing import Final

PHRASINGS: Final[dict[str, tuple[str, ...]]] = {
    "where": (
        "where is the {item}", "where is the {item}", "where can i find the {item}", "where can i find the {item}",
        "where (is|are) (the|your|a|) {item}", "where (exactly|) (do|can|could|would|will) i (find|get|see|look for) (the|a|your|) {item}",
        "where do you (keep|have|put|store|sell|hide) (the|your|) {item}", "(i am|we are) looking for (the|a|) {item}",
        "(can|could|would) you (tell|show) me where (the|a|) {item} is", "(do you know|tell me|show me) where (the|i find the) {item} (is|)",
        "i (need|want|am searching|would like) (to find|to see|) (the|a) {item}", "in (which|what) (place|corner|area|part|section) is the {item}",
        "(which|what) (shelf|aisle|zone|place|corner) (is|has|holds) the {item} (in|)", "how do i (find|get to) the {item}",
        "find (me|) (the|a) {item}", "(location|place|position) of the {item}", "i (can not|can not seem to|could not) find the {item}",
        "where (has|did) the {item} (gone|go|moved to)", "(take|lead|guide|point) me to the {item}", "where (might|would) the {item} be",
        "(is|are) the {item} (here|near here|around here) somewhere", "what (place|spot) is the {item} at", "{item} where (is|are) (it|that|they)",
    ),
    "price": (
        "how much is the {item}", "how much is the {item}", "what does the {item} cost", "what does the {item} cost",
        "how much (is|are|does|do) (the|a|one|your|) {item} (cost|)", "what (is|was) the (price|cost) (of|for) (the|a|one|) {item}",
        "(what|how much) (will|would|do|must|should) i (pay|have to pay|spend) for (the|a|one) {item}", "(tell|give|show) me the price (of|for) (the|a) {item}",
        "(can|could) you tell me (how much the {item} is|what the {item} costs|how much the {item} costs)", "price (of|for) (the|a|) {item}", "how (expensive|costly|cheap) is (the|a) {item}",
        "what (do|are) you (charge|ask|asking|want) for (the|a) {item}", "how many euros (is|for) (the|a) {item}", "what is the {item} (selling for|priced at|worth)",
        "(i want to know|i need|do you know) the price of the {item}", "(how much|what) for (the|a|one) {item}", "what (price|cost) (is|has) the {item}",
        "(how much money|how many euros) (do i need|does it take) for the {item}", "{item} how much (is it|is that|)", "(i want|i would like) to (buy|pay) (the|a) {item} how much (is it|)",
    ),
    "in_stock": (
        "is the {item} in stock", "is the {item} in stock", "(is|are) (the|your|a|any) {item} (in stock|available|on stock|there)",
        "do you (have|stock|carry|sell) (the|a|any) {item} (in stock|right now|today|)", "have you got (the|a|any) {item} (in stock|)",
        "(is there|are there) (a|any|still a) {item} (left|in stock|available|)", "(can|could) i (still|) (buy|get|have) (the|a) {item} (here|today|)",
        "do you still (have|sell) (the|a|) {item}", "(any|a) {item} (in stock|left|available)",
        "(can|could) you (check|see) (if|whether) the {item} is (in stock|available)", "check the stock (of|for) the {item}", "is the {item} still (there|available|in stock)",
    ),
    "how_many": (
        "how many {item} do you have", "how many {item} do you have", "how many {item} (are|is) (left|in stock|there|available)",
        "how many (of the|of) {item} (do you have|are left|have you got|are there|are in stock)", "how many {item} (have you got|can i buy|can i get)",
        "(what is|tell me) the (number|count|stock|quantity) of (the|) {item}", "how much stock (of|for) the {item} (is there|do you have|is left)",
        "(count|number) of (the|) {item}", "how many (pieces|units) of the {item} (do you have|are there|are left)",
        "(can you|could you|) tell me how many {item} (you have|are left|there are)", "what (stock|number|quantity|amount) of {item} (do you have|is left|is there)",
        "how many {item} (remain|do you still have|do you keep|do we have)",
    ),
    "it_where": ("where is it", "(and|) where (can|do) i find (it|that)", "where do you keep it", "and where is (it|that)", "where exactly", "in which place is it"),
    "it_price": ("how much is it", "what does (it|that) cost", "and how much (is it|does it cost|is that)", "(and|) the price", "what is the price (of it|of that|)", "how much"),
    "it_in_stock": ("is it in stock", "do you have it", "and is it (in stock|available)", "is (it|that) available", "have you got it", "do you still have it"),
    "it_how_many": ("how many do you have", "and how many (are there|do you have|are left)", "how many are left", "how many of (them|it|those) (do you have|are there)", "how many (pieces|)"),
    "opens": (
        "when do you open on {day}", "when do you open on {day}", "what time do you open on {day}", "what time do you open on {day}",
        "(when|at what time|what time) (do|does|will|would) (you|the shop|the store|it|they) open (on|) {day}", "from when are you open on {day}",
        "(tell me|do you know|can you tell me) when you open on {day}", "how early (do|can) (you open|i come) on {day}", "opening time (on|for) {day}",
        "(when|what time) (is|does) (the|) opening (on|start on) {day}", "when (can|may) i come (in|) on {day}", "on {day} (when|what time) do you open",
        "{day} (when|what time) do you open", "(when|what time) are you opening on {day}", "when does the (shop|store|kiosk) open its doors on {day}",
    ),
    "closes": (
        "when do you close on {day}", "when do you close on {day}", "what time do you close on {day}", "what time do you close on {day}",
        "(when|at what time|what time) (do|does|will|would) (you|the shop|the store|it|they) (close|shut) (on|) {day}", "until when are you open on {day}",
        "(tell me|do you know|can you tell me) when you close on {day}", "how (late|long) are you open on {day}", "closing time (on|for) {day}",
        "(when|what time) is closing (time|) on {day}", "how (late|long) can i (come|shop|stay) on {day}", "on {day} (when|what time) do you close",
        "{day} (when|what time) do you close", "(till|until) (when|what time) (do you open|are you here) on {day}", "(when|what time) are you closing on {day}",
    ),
    "hours": (
        "what are your (hours|opening hours|opening times|business hours) on {day}", "(hours|opening hours|opening times) (on|for) {day}",
        "when are you open on {day}", "(tell me|what are) the (hours|opening hours|times) (on|for|of) {day}", "when is the (shop|store) open on {day}",
        "from when to when are you open on {day}", "(when|what times) (can|could) i (visit|shop) on {day}", "{day} (hours|opening hours)",
    ),
    "open_on": (
        "are you open on {day}", "(is|will) the (shop|store) (be|) open on {day}", "do you open on {day}", "(are|will) you (be|) open on {day}",
        "(are you closed|is it closed|is the shop closed) on {day}", "can i (come|shop|visit) on {day}", "do you (work|sell) on {day}",
    ),
    "which_day": (
        "when do you open", "when do you close", "what are your (hours|opening hours|opening times)", "how long are you open", "what time do you (open|close)",
        "when are you open", "opening hours", "(tell me|what are) the opening hours", "are you open", "when (is|does) the (shop|store) (open|close)",
    ),
    "zone": (
        "{zone}", "{zone}", "{zone}", "what is at the {zone}", "what is at the {zone}", "what is at the {zone}",
        "what (is|do you have|can i find|do i find|do you keep|can i buy|is there) (at|in|on) the {zone}", "(tell|show) me (what is|what i find) at the {zone}",
        "what (things|stuff|goods) (are|is) (at|in) the {zone}", "what (do|would) i (see|find) (at|in) the {zone}", "{zone} what is (there|that)",
        "what (does|about) the {zone} (have|)", "(and|) (at|in) the {zone}", "the {zone}", "which (things|goods|products) are at the {zone}",
    ),
    "qc_failed": (
        "how many parts failed today", "how many parts failed today", "how many (parts|pieces) (have|) failed (today|so far|)", "how many (rejects|bad parts|failures|defects) (today|did we have today|are there today)",
        "(what is|tell me) the number of (failed parts|failures|rejects) (today|)", "how many parts (were|are|got) (bad|rejected|defective|thrown out) (today|)", "(number|count) of (failed|bad|rejected) parts (today|)",
        "(did|have) any parts (fail|failed) today", "how many (failed|did not pass|were faulty) today", "(failed|rejected|bad) parts today", "how many parts did (we|you) reject today",
    ),
    "qc_passed": (
        "how many parts passed today", "how many parts passed today", "how many (parts|pieces) (have|) passed (today|so far|)", "how many good parts (today|did we make today|are there today)",
        "(what is|tell me) the number of (passed|good) parts (today|)", "how many parts (were|are) (good|fine|okay|accepted) (today|)", "(number|count) of (passed|good|accepted) parts (today|)",
        "how many (passed|passed the inspection|passed the test) today", "(passed|good) parts today", "how many parts did (we|you) (pass|accept) today",
    ),
    "qc_not_inspected": (
        "how many parts were not inspected today", "how many parts were not inspected today", "how many parts (were|are|have been) (not inspected|not checked|missed|skipped|left out) (today|)",
        "how many parts (did you|did we) (not inspect|miss|skip|not check) today", "(number|count) of (parts not inspected|missed parts|skipped parts|uninspected parts) (today|)",
        "how many (uninspected|unchecked|skipped|missed) parts (today|are there today|did we have)", "(what is|tell me) the number of parts not inspected (today|)", "parts not inspected today",
    ),
    "sensor": (
        "what is the {quantity} of the {place} now", "what is the {quantity} of the {place} now", "what is the (current|live|present) {quantity} (of|at|in) the {place}",
        "(read|show|give|tell) me the {quantity} of the {place}", "(check|measure|read) the {quantity} (of|at|in) the {place}", "how high is the {quantity} (of|at|in) the {place} (now|right now|)",
        "{quantity} of the {place} (now|please|right now)", "what (does|is) the {quantity} (sensor|reading) (of|at|on) the {place} (say|now)",
    ),
    "time": ("what time is it", "what is the time", "what (day|date) is (it|today)", "(tell me|do you know) the (time|date)", "which day is (it|) today", "what time is it now", "how late is it"),
    "staff": (
        "(can|could|may) i (talk|speak) to (a person|someone|somebody|a human|the staff|the manager)", "i need (help|a person|someone|somebody|assistance)", "(call|get|send) (a person|someone|somebody|the staff|the manager|help)",
        "i want to (talk|speak) to (a person|someone|the staff|the manager)", "is (someone|somebody|anybody) (here|there)",
    ),
    "hello": ("hello", "hello", "hi", "hey", "good (morning|afternoon|evening|day)", "hello there", "hi there", "hey there", "greetings"),
    "thanks": ("thank you", "thank you", "thanks", "thank you (very much|so much)", "thanks a lot", "many thanks", "great thanks", "(okay|perfect|good|great) thank you", "that is (great|all|perfect) thank you"),
    "bye": ("goodbye", "goodbye", "bye", "bye bye", "see you", "see you later", "have a nice day", "good night", "i (have to|must) go", "until next time"),
    "who": (
        "who are you", "who are you", "what are you", "what is your name", "who am i (talking|speaking) (to|with)", "are you a (robot|computer|machine|person)", "what is (this|this shop|this place) (called|)",
        "what is the name of (this|the) (shop|store)", "introduce yourself", "tell me (about yourself|who you are|your name)",
    ),
    "help": ("help", "what can (i ask|you do|i ask you|you tell me)", "how can you help me", "what do you know", "what (questions|things) can i ask", "how does this work", "what are you able to do"),
}  # fmt: skip

HELD_PHRASINGS: Final[dict[str, tuple[str, ...]]] = {
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
    "time": ("could you tell me what time it is", "have you got the time"),
    "staff": ("please fetch somebody", "is there a person i could speak to"),
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
}

OFF_TOPIC: Final = (
    "what is the capital of (france|spain|italy|japan)", "who is the (president|king|prime minister)", "what is the weather (like|) (today|tomorrow|)", "will it rain (today|tomorrow)",
    "tell me a (joke|story|secret)", "sing (me|) a song", "play (some music|the radio|a game)", "how old are you", "do you (love|like|hate) me", "what is (two|five|ten) (plus|times|minus) (two|six|nine)",
    "who won the (game|match|election)", "what is the meaning of life", "where is the (train station|airport|hospital|next bank|bus stop)", "can you (dance|fly|swim|drive)", "what is your favorite (color|song|food|movie)",
    "how do i get to the (airport|city|beach|station)", "order me a (pizza|taxi|coffee)", "call my (mother|wife|boss|doctor)", "turn on the (light|radio|television|heating)", "what is the news (today|)",
    "how far is the moon", "why is the sky blue", "translate (hello|house|dog) to (french|german)", "what should i (eat|cook|wear|read) (today|tonight|)", "are you married", "do you have (children|a dog|friends)",
    "who is your (boss|father|maker)", "book a (table|flight|room) for (two|me)", "set (an alarm|a timer) (for ten minutes|)", "what is the stock market doing", "i am (sad|hungry|tired|bored)", "i love you",
    "can you lend me (money|a car)", "what do you think about (politics|football|art)", "give me a (discount|refund|job)", "is there a (toilet|parking lot|cafe|playground) (here|)", "do you deliver (to my home|)",
    "can i pay (by card|in cash|with my phone)", "do you have a (newsletter|loyalty card|catalog)", "can i (return|exchange) (it|something)", "where were you (born|made)", "what happened (yesterday|last night)",
    "who wrote (hamlet|this book|the bible)", "how many people live in (china|berlin|this town)", "read me (the paper|my mail|a poem)", "the (cat|dog|bird) is (on the roof|in the garden)", "blah blah blah", "i do not understand (you|this|)",
    "never mind", "the weather is (nice|bad) today", "my (car|house|phone) is (broken|old|new)", "how are you", "what are you wearing", "is your (mother|brother) here", "who is there", "stop (it|that|talking)",
)  # fmt: skip

HELD_OFF_TOPIC: Final = (
    "who painted the mona lisa", "how deep is the ocean", "what is for lunch today", "do you speak german", "where can i park my car", "is it going to snow", "remind me to call my sister", "what is the fastest animal",
    "how many stars are there", "can you write a letter for me", "how was your weekend", "do you believe in ghosts", "who was the first man on the moon", "which team is the best", "what is the square root of nine",
    "i have lost my keys", "could you open the window", "what language is this",
)  # fmt: skip

LEADS: Final = (
    "excuse me", "hello", "hi", "please", "um", "uh", "hey", "sorry", "well", "so", "okay", "and", "please tell me", "tell me", "i would like to know", "can you tell me", "good morning", "quick question",
    "yes", "now", "then", "oh", "alright", "listen",
)  # fmt: skip
TAILS: Final = ("please", "please", "thanks", "thank you", "now", "again", "then", "today", "for me", "right now")

QUANTITIES: Final = (
    "temperature", "temperature", "pressure", "speed", "humidity", "vibration", "current", "voltage", "power", "level", "weight", "noise", "brightness", "oil level", "air pressure", "belt speed",
)  # fmt: skip

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

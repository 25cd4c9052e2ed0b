"""The word lists and the small grammars that all made-up text comes from.

One word in ten is kept for the held-out split (see Source.pick), so that a
held-out question never asks for the very words that were trained on.
"""

import random
import zlib

NOUNS = """apple anchor arrow basket beach bell bench bicycle bird blanket boat book bottle bowl box branch bread bridge
broom brush bucket bus button cabin cake camera candle car carpet castle cat chair cheese chest clock cloud coat coffee coin
comb cookie corner cottage cow crown cup curtain desk dog door dragon drawer dress drum duck ear egg engine eye farm feather
fence field finger fire fish flag floor flower flute forest fork fox frog garden gate ghost giraffe glass glove goat grape
guitar hammer hat hill honey horse house island jacket jar jungle kettle key king kite kitten knife ladder lake lamp leaf
lemon letter library lion lock machine map market meadow mirror monkey moon mountain mouse mushroom needle nest notebook
ocean onion orange oven owl paint pan paper park parrot path peach pear pencil penguin pepper piano picture pig pillow pirate
planet plate pocket pond potato printer puppet puppy queen rabbit rain ribbon ring river road robot rocket roof room rope
rose sailor salt sand school scissors sea seed shadow sheep shell ship shirt shoe shop silver sister sky snail snow soap sock
song soup spider spoon spring square squirrel stamp star station stone storm story street sugar summer sun swan table tail
tea teacher tent tiger toast tomato tower town toy train tree trumpet tunnel turtle umbrella valley vase village violin wagon
wall wallet watch water whale wheel whistle wind window winter wolf wood yard zebra server cable screen keyboard folder file
network router battery signal pixel cursor packet socket module buffer thread kernel token vector matrix cluster ledger
invoice ticket parcel harbor orchard cellar lantern compass marble pebble acorn walnut saddle barrel canyon desert glacier
lagoon oasis volcano comet meteor nebula galaxy orbit tulip daisy clover ivy maple cedar willow birch raven falcon heron
otter badger beaver moose panther leopard cobra lizard salmon trout shark dolphin crab lobster airport album alley
almond amulet antler apron arcade archer armchair artist attic avocado axle badge bakery balcony ballad balloon bamboo banana bandage
banjo barn bathtub beacon bead beam bean beard beetle belt berry bison blade blossom blouse bonfire boot border boulder bracelet brick
brook bubble buckle bulb bundle bunker bush butcher butter cactus calendar camel campfire canal canoe canvas cape captain caravan card
cargo carrot cart cartoon cave cedarwood ceiling cement chain chalk chapel chapter cherry chimney chisel choir circle circus clam clay
cliff clown cobweb coconut collar column comic cone copper coral cork corn cotton couch courtyard cradle crane crater crayon creek cricket
crowd crystal cube cucumber cushion customer cyclone daisy dam dancer deck deer diamond diary dice dinner dish ditch dock dome donkey dough
driveway eagle earth easel eclipse elbow elephant elevator emerald envelope eraser estate fabric factory fairy fan faucet ferry fiddle
figure film flame flask fleet flour foam fog fossil fountain frame freezer freight fruit fuel funnel galley gallery gap garage garlic gem
geyser giant ginger girl glider globe glue gown grain granite grass gravel grove guard gull gym hall hallway hamper hand handle hangar
harp harvest hawk hay hedge heel helmet herb hinge hive hook hoop horn hotel hut icicle ink inn insect iron ivory jaguar jam jaw jelly
jewel joker judge jug juice kayak kernelstone kettledrum kitchen kiwi knee knight knob knot lace lawn leash leather ledge lens lentil
lever lid lighthouse lily lime linen lion lodge log loom lotus lumber lunch lynx magnet mailbox mammoth mango manor mansion mask mast
mat mattress meal medal melon menu mill mine mint mitten moat mole monk moss moth motor mud mug mule muscle museum nail napkin neck
nectar net nickel noodle nutmeg oak oar oat octopus office olive opal opera ore organ ostrich oval oyster paddle page palace palm panda
pantry parade parchment park parsley passage pasture patch pavement pea peak peanut pebblestone pedal pen peony pest petal phone pickle
pier pigeon pill pin pine pipe pistachio pit pitcher plain plank plant plaster platform plaza plow plug plum pocketbook poem poet pole
pony pool porch port portrait post pot pouch powder prairie prism prize pump pumpkin purse puzzle pyramid quail quarry quartz quilt radio
radish raft rail raisin ram ramp ranch raspberry razor reed reef reptile rice rifle rim roast rod root rooster rubber ruby rudder rug
ruler saber sack sandal satchel sauce sausage saw scale scarf scooter screw sculpture seal seat sewer shelf shield shore shovel shrimp
shrub shutter sidewalk sink skate sketch skirt skull sled sleeve slipper slope smoke snack snake sofa spade spark sparrow spear sphere
spice spine sponge spool spruce stable stadium staff stage stair stall statue steam steel stem stew stick stool stove strap straw stream
string studio submarine suit suitcase sunflower swamp swing sword syrup tablet tack tailor tank tape tar target tavern temple tennis
terrace theater thimble thorn throne tide tie tile timber tin tire toad toe tongue tool tooth torch track tractor trail tray treasure
trench tribe tripod trophy trunk tube tug tulipwood turnip tusk tweezers twig valve van vault veil velvet vest vine vinegar visitor wafer
waist walrus wardrobe warehouse wasp waterfall wax weasel weaver web well wharf wheat wheelbarrow whip willow wing wire wolfhound woodpecker
wool worm wreath wrench yacht yarn yogurt zipper zone""".split()
NOUNS = list(dict.fromkeys(NOUNS))

NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Victor
Wendy Xavier Yara Zoe Adam Bella Carl Diana Erik Fiona George Hannah Ivan Julia Kevin Laura Martin Nina Oscar Petra Rahul
Sofia Tom Ursula Vera Walter Yusuf Zara Aisha Boris Chen Dario Elena Farid Gina Hugo Irene Jonas Karim Lena Marco Nadia Omar
Priya Rita Stefan Tara Umberto Violet Will Ximena Yuki Zelda Alice Bruno Cora Dylan Esther Frank Greta Hans Iris Jamal Kira
Liam Mona Nils Olivia Pablo Ruth Simon Thea Ulrich Vincent Willa Amir Bianca Conrad Delia Edgar Freya Gustav Helga Igor Jana
Klaus Lydia Milan Nora Otto Paula Rafael Selma Theo Una Viktor Wanda Ada Basil Celia Dmitri Eva Flora Gideon Hilda Ines Jasper
Kofi Luna Mateo Naomi Orla Piotr Ravi Silvia Tariq Amara""".split()

CITIES = """Paris London Berlin Rome Madrid Vienna Prague Lisbon Oslo Dublin Warsaw Athens Zurich Geneva Munich Hamburg
Milan Naples Porto Seville Lyon Nice Ghent Bergen Tampere Riga Vilnius Tallinn Cairo Nairobi Lagos Accra Tunis Delhi Mumbai
Tokyo Osaka Kyoto Seoul Hanoi Manila Jakarta Sydney Perth Auckland Toronto Montreal Boston Chicago Denver Seattle Austin
Lima Bogota Quito Santiago Havana Kingston Reykjavik Helsinki""".split()

COLORS = """red blue green yellow orange purple pink brown black white gray gold silver turquoise violet beige crimson
scarlet teal navy maroon olive indigo amber""".split()

ADJECTIVES = """small big old young quiet loud bright dark warm cold happy sad brave shy clever silly kind lazy quick slow
soft hard sweet bitter clean dusty empty full gentle golden green heavy honest hungry light little long lonely lucky merry
narrow new odd plain polite proud rare rich round rusty sharp short shiny simple sleepy smooth steep strange strong tall
thin tiny tired wild wise wooden yellow""".split()

VERBS = """found carried painted watched borrowed cleaned counted dropped fixed followed hid kept lost moved opened
packed pulled pushed remembered repaired saved sold studied touched visited wanted washed bought built caught drew""".split()

ANIMALS = "cat dog rabbit horse parrot hamster turtle goldfish pony canary ferret goat duck mouse lizard snake".split()
FOODS = """pizza pasta soup salad rice bread cheese pancakes noodles curry sushi tacos apples strawberries chocolate
porridge lasagna dumplings pie waffles mangoes olives""".split()
JOBS = """baker teacher nurse doctor carpenter pilot farmer painter engineer sailor tailor gardener plumber driver cook
librarian dentist writer musician programmer electrician""".split()
HOBBIES = """chess painting swimming cycling knitting singing dancing fishing hiking reading baking photography
gardening climbing running origami juggling""".split()
PLACES = """kitchen garden library market forest harbor school station park office village castle beach cellar attic
museum hospital bakery workshop tower""".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_ONSETS = "b c d f g h j k l m n p r s t v w z bl br ch cl cr dr fl fr gl gr pl pr sh sk sl sp st th tr".split()
_VOWELS = "a e i o u ai ea ee oa oo ou".split()
# The lists whose words are never pieces together with the space before them.
LISTS = ["NOUNS", "NAMES", "CITIES", "COLORS", "ADJECTIVES", "VERBS", "ANIMALS", "FOODS", "JOBS", "HOBBIES", "PLACES"]

_ENDS = ["", "", "", "n", "r", "l", "s", "t", "m", "k", "x", "nd", "rt", "st", "ng"]


_PARTS = []

# Ordinary words, for made-up keys and for parts of invented words.
ENGLISH = """able about above accept account action active add address after again agent all allow almost alone also always amount answer
any apply area argument array article ask attach author available average away back balance base basic batch because become before begin
behind believe belong below benefit best better between beyond big bind bit block body border both bottom brand break brief bring budget
build business call cancel capital care carry case category cause center central century chance change channel charge check child choice
choose city class clean clear client close code collect color combine come comment common company compare complete computer condition
connect consider contain content control convert copy correct cost count country course cover create credit current custom daily damage
data date deal decide deep default define degree delay delete deliver demand depend describe design detail develop device difference
direct directory discount discuss distance divide document domain double doubt down draft draw drive drop during early easy edit effect
effort either else email employ empty enable end energy enjoy enough enter entire entry equal error escape even event ever every exact
example except exchange execute exist expect expense explain export express extend extra face fact fail fall false family far fast father
feature fee feel fetch few fight fill filter final find finish first fit float follow force foreign forget form format former forward free
frequent fresh friend from front full function future gain game general generate get give global goal good govern grade grant group grow
guess guest guide half happen hard have header health hear height help hidden high hold home host hour huge human idea identify image
impact import improve include income increase index industry inform input insert inside install instead integer interest internal
interval into invite issue item join jump just keep kind know label land language large last late later layer lead learn least leave
left legal length less level license light like limit line link list listen live load local locate lock logic long look lose lost lower
machine main make manage manual many mark market match maximum mean measure medium meet member memory mention merge message method middle
million mind minimum minor minute mirror miss mode model modern modify moment money month more most mother mount move much multiple must
name narrow nation native nature near need negative neither never new next nice night noise none normal north note nothing notice now null
number object observe obtain obvious occur offer offset often older once online only open operate opinion option order organize origin
other output outside over own owner pack pair parent part partner party pass past pattern pause pay payment people percent perfect perform
period person phase physical pick piece place plan player please point policy popular position possible potential power practice prefer
prepare present press pretty prevent previous price primary print private probably problem process produce product profile program
progress project promise proper protect prove provide public pull purchase purpose push quality quantity quarter query question queue
quick quiet quite quote random range rate rather reach read ready real reason receive recent record reduce refer reflect region register
regular relate release remain remote remove repeat replace reply report request require reserve reset resource respond result resume return
reverse review reward right role round route rule running safe sale same sample save say scan scene schedule science scope score script
search second section secure select sell send sense sentence separate serial series serious serve service session setting settle several
shape share short should show side sign similar simple since single size skill skip slice slot small social solid solve some sort sound
source south space special specific speed spell spend split spread staff standard start state status stay step still stock stop store
strange strategy strict strong structure student study style subject submit success such suggest summary supply support sure surface switch
symbol system table target task team technical template term test text than that their then theory there these thing think third this
those though thought thousand threat three through throw ticket time title today together tomorrow total touch toward trace trade train
transfer travel treat trial trouble true trust turn type under understand union unique unit unless until update upload upper use user usual
valid value various vendor version very video view visit voice volume vote wait walk want warning watch weather week weight welcome west
what when where whether which while white whole wide width will window within without wonder word work world worry worth would write wrong
year yellow young your zero""".split()


def held_out(key):
    """True for about one key in ten, the same on every machine."""
    return zlib.crc32(("pensieve:" + str(key)).encode()) % 10 == 0


class Source(random.Random):
    """A seeded random source that knows which split it writes for."""

    def __init__(self, seed, split="train"):
        super().__init__(seed)
        self.split = split
        self.early = False   # the curriculum's first part

    def mine(self, key):
        """May this key be used by this split?"""
        return held_out(key) == (self.split == "eval")

    def pick(self, words):
        """A word of the split's own share; common closed lists should use choice()."""
        for _ in range(200):
            w = self.choice(words)
            if self.mine(w):
                return w
        return self.choice(words)

    def chance(self, p):
        return self.random() < p

    def number(self, digits_max=4):
        d = self.randint(1, digits_max)
        return self.randint(10 ** (d - 1) if d > 1 else 0, 10 ** d - 1)

    def pseudo(self, capital=None):
        """A word that is in no list: of syllables, of parts of words, or of letters."""
        k = self.random()
        if k < .5: w = "".join(self.choice(_ONSETS) + self.choice(_VOWELS) + self.choice(_ENDS) for _ in range(self.choice([1, 2, 2, 2, 3])))
        elif k < .92: w = self.scramble()
        else: w = "".join(self.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(self.randint(3, 9)))
        if capital or (capital is None and self.chance(0.2)):
            w = w.capitalize()
        return w

    def scramble(self):
        """Parts of known words joined anew ("servanda"), so that every piece of a word is met everywhere."""
        if not _PARTS: _PARTS.extend(sorted({w.lower() for name in LISTS for w in globals()[name] if not held_out(w)} | set(ENGLISH)))
        out = ""
        for _ in range(self.choice([1, 2, 2, 2, 3])):
            w = self.choice(_PARTS)
            n = self.randint(2, max(2, min(len(w), 7)))
            at = self.randint(0, max(0, len(w) - n)) if self.chance(.5) else 0
            out += w[at:at + n]
        return out if len(out) > 2 else out + self.choice(_VOWELS) + self.choice("lmnrst")

    def ident(self):
        """Something that looks like a code, a key or a file part."""
        kind = self.randrange(6)
        if kind == 0:
            return "".join(self.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(self.randint(4, 10)))
        if kind == 1:
            return str(self.randint(1000, 9999999))
        if kind == 2:
            return self.pick(NOUNS) + "-" + str(self.randint(1, 999))
        if kind == 3:
            return self.pick(ADJECTIVES) + "-" + self.pick(NOUNS)
        if kind == 4:
            return "".join(self.choice("0123456789abcdef") for _ in range(self.randint(6, 12)))
        return self.pseudo(False) + "_" + self.pseudo(False)

    def name(self):
        return self.pick(NAMES) if self.chance(0.85) else self.pseudo(True)

    def english(self):
        while (w := self.pick(ENGLISH)) in ("true", "false", "null"): pass
        return w

    def code(self):
        """An ident that nobody could take for a number."""
        while (w := self.ident()).isdigit(): pass
        return w

    def place_name(self):
        return self.choice(CITIES) if self.chance(.7) else self.pseudo(True)

    def noun(self):
        return self.pick(NOUNS)

    def path(self):
        ext = self.choice("txt md py cpp h json toml log yaml js ts html css rs go".split())
        parts = [self.pick(NOUNS) if self.chance(0.7) else self.pseudo(False) for _ in range(self.randint(1, 3))]
        if self.chance(0.3):
            parts[-1] += "_" + self.pick(NOUNS)
        head = self.choice(["", "", "src/", "docs/", "/home/" + self.name().lower() + "/", "/tmp/", "tests/", "./"])
        return head + "/".join(parts) + "." + ext

    def sentence(self):
        """One plain sentence about nothing in particular."""
        n, v, a = self.noun, lambda: self.choice(VERBS), lambda: self.choice(ADJECTIVES)
        k = self.randrange(12)
        who = self.name()
        if k == 0: s = f"The {a()} {n()} {v()} the {n()}"
        elif k == 1: s = f"{who} {v()} a {a()} {n()} near the {self.choice(PLACES)}"
        elif k == 2: s = f"There is a {n()} behind the {a()} {n()}"
        elif k == 3: s = f"On {self.choice(DAYS)} {who} {v()} the {n()}"
        elif k == 4: s = f"Every {n()} in the {self.choice(PLACES)} looked {a()}"
        elif k == 5: s = f"{who} and {self.name()} {v()} {self.randint(2, 99)} {n()}s together"
        elif k == 6: s = f"In {self.choice(MONTHS)} the {n()} was {a()} and {a()}"
        elif k == 7: s = f"Nobody in {self.choice(CITIES)} {v()} the {a()} {n()} that day"
        elif k == 8: s = f"It was {a()}, so the {n()} stayed in the {self.choice(PLACES)}"
        elif k == 9: s = f"{who} is a {self.choice(JOBS)} who likes {self.choice(HOBBIES)}"
        elif k == 10: s = f"The {n()} by the {n()} {v()} {self.randint(2, 900)} {n()}s"
        else: s = f"\"{a().capitalize()} {n()}\" is what {who} said about the {n()}"
        return s + ("." if k == 11 else self.choice([".", ".", ".", ".", ".", "!", " again."]))

    def words(self, n):
        """n loose words, some of them invented, some numbers."""
        out = []
        for _ in range(n):
            r = self.random()
            if r < 0.6: out.append(self.pick(NOUNS))
            elif r < 0.75: out.append(self.choice(ADJECTIVES))
            elif r < 0.9: out.append(self.pseudo())
            else: out.append(str(self.number()))
        return " ".join(out)

"""Words of generated hearings. Every person, place and organisation is invented."""

from dataclasses import dataclass

WOMENS_NAMES = (
    "Ada", "Alice", "Andrea", "Anita", "Barbara", "Benita", "Carla", "Celia", "Clara", "Dana",
    "Delia", "Dora", "Elena", "Erica", "Fiona", "Frances", "Gloria", "Gwen", "Helen", "Ida",
    "Irene", "Jane", "Joyce", "Karen", "Lara", "Linda", "Lucia", "Maria", "Mildred", "Miriam",
    "Nadia", "Nora", "Olga", "Pamela", "Paula", "Rachel", "Rosa", "Ruth", "Sandra", "Sonia",
    "Stella", "Thelma", "Ursula", "Vera", "Viola", "Wanda", "Yolanda", "Yvonne", "Zelda",
)  # fmt: skip
MENS_NAMES = (
    "Alan", "Amos", "Arthur", "Bernard", "Cecil", "Conrad", "Daniel", "Dennis", "Edgar",
    "Elliot", "Ethan", "Felix", "Gavin", "Grant", "Harold", "Henry", "Isaac", "Ivan", "Jasper",
    "Joel", "Julian", "Keith", "Leonard", "Louis", "Malcolm", "Marcus", "Martin", "Neil",
    "Oscar", "Patrick", "Percy", "Ramon", "Rupert", "Samuel", "Simon", "Terence", "Theo",
    "Tomas", "Victor", "Walter", "Wesley",
)  # fmt: skip
LAST_NAMES = (
    "Abelworth", "Adderby", "Aldersham", "Ambrelli", "Ardenfeld", "Ashgrove", "Balderic",
    "Barrowin", "Bellingray", "Bexworth", "Birchall", "Blanderson", "Bracewood", "Brenlow",
    "Brightmoor", "Calderone", "Carrowby", "Castellow", "Chadbury", "Cindermann", "Clovelly",
    "Corvana", "Cranholt", "Culverson", "Dalrimple", "Danforde", "Dellacorte", "Dempsford",
    "Dovermann", "Drayhurst", "Dunmarsh", "Eastlock", "Edgerleigh", "Ellinwood", "Elverton",
    "Esterbrook", "Fairlocke", "Falkenrath", "Farrowdale", "Fennimoor", "Fieldstone", "Folkright",
    "Gallanti", "Garrowell", "Glenmarrow", "Goldhurst", "Granthorne", "Greenlaw", "Grimbald",
    "Hadlinger", "Halvorsky", "Harrowgate", "Hazelrig", "Heatherly", "Hexley", "Hollowell",
    "Huxtern", "Ingleford", "Ironmoor", "Jarrowman", "Jessupfield", "Kaldermann", "Kellowby",
    "Kettlewell", "Kingmarsh", "Ladbrooke", "Larkspur", "Leatherby", "Lindenbaum", "Lockridger",
    "Lorrimore", "Maldonari", "Mapleton", "Marrowick", "Meadowcroft", "Merriwell", "Millhaven",
    "Montclare", "Morningside", "Nettlecombe", "Northwell", "Oakenfold", "Okonjari", "Ollerton",
    "Orlandez", "Osterfeld", "Pallister", "Pendarrow", "Pickersgill", "Quillfeather", "Radowitz",
    "Ravensdale", "Redmarsh", "Rosemund", "Sallowby", "Santareno", "Silverthorne", "Stallworthy",
    "Stonebridge", "Tallowman", "Tamarindo", "Thistlewood", "Tolliver-Banks", "Underhay",
    "Valderrosa", "Vandermoor", "Wainscott", "Weatherall", "Whitlowe", "Winterbourne", "Wolverley",
    "Yarborrow", "Yellowlees", "Zimmerling",
)  # fmt: skip
MIDDLE_INITIALS = "ABCDEFGHJKLMPRSTW"

PLACES = (
    "Alder Creek", "Bellmere", "Briar Point", "Cold Harbor Falls", "Cotter Valley", "Dunmore Bay",
    "Eastbrook", "Ellery Falls", "Fallow Ridge", "Granite Forks", "Harrow Valley", "Juniper Flats",
    "Kestrel Lake", "Larch Hill", "Marrow Springs", "New Tolland", "Orchard Bend", "Pine Hollow",
    "Quarry Heights", "Red Mesa", "Sable River", "Tallis Grove", "Upper Wending", "Westering",
)  # fmt: skip
ORGANISATION_ENDS = (
    "State University", "College", "Growers Association", "Electric Cooperative", "Health Alliance",
    "Chamber of Commerce", "Tribal Council", "School District", "Port Authority", "Holdings",
    "Community Bank", "Workers Union", "Manufacturing Company", "Legal Aid Society", "Water Board",
    "Research Laboratory", "Transit Agency", "Hospital System", "Family Farms", "Credit Union",
)  # fmt: skip
INSTITUTES = (
    "Center for Public Accountability", "Institute for Rural Policy", "National Coalition of Towns",
    "American Council on Safe Systems", "Foundation for Open Markets", "Bureau of Field Programs",
    "Office of Program Evaluation", "Alliance for Better Infrastructure", "Citizens Budget Forum",
    "National Association of County Inspectors", "Society of Applied Economists",
    "Department of Public Works", "League of Independent Retailers", "Office of Regional Affairs",
    "Partnership for Clean Harbors", "Union of Technical Employees",
)  # fmt: skip
ROLES = (
    "President", "Executive Director", "Chief Executive Officer", "Owner", "General Counsel",
    "Director of Research", "Professor of Economics", "Professor of Law", "Senior Fellow",
    "Deputy Administrator", "Assistant Secretary", "Inspector General", "Chief Scientist",
    "Vice President for Operations", "Policy Director", "Chairman of the Board", "Senior Economist",
    "Director of Government Relations", "Acting Commissioner", "Chief Medical Officer", "Mayor",
    "Associate Dean", "Superintendent", "Managing Partner", "Senior Analyst", "Founder",
)  # fmt: skip
STAFF_ROLES = (
    "Staff Director", "Chief Counsel", "Professional Staff Member", "Legislative Clerk",
    "Minority Staff Director", "Press Secretary", "Staff Assistant", "Counsel",
    "Research Assistant",
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    committee: str
    subcommittees: tuple[str, ...]
    topics: tuple[str, ...]
    """What its hearings are about: completes "a hearing on ..."."""


HOUSE_PANELS = (
    Panel(
        "Committee on Agriculture",
        ("Subcommittee on Livestock and Foreign Agriculture", "Subcommittee on Conservation",
         "Subcommittee on Nutrition and Oversight"),
        ("crop insurance", "rural broadband", "soil conservation", "meat inspection"),
    ),
    Panel(
        "Committee on Energy and Commerce",
        ("Subcommittee on Health", "Subcommittee on Energy and Power",
         "Subcommittee on Communications and Technology"),
        ("grid reliability", "drug safety", "telephone fraud", "pipeline permits"),
    ),
    Panel(
        "Committee on Financial Services",
        ("Subcommittee on Capital Markets", "Subcommittee on Housing and Insurance"),
        ("flood insurance", "small bank supervision", "mortgage lending", "payment systems"),
    ),
    Panel(
        "Committee on Natural Resources",
        ("Subcommittee on Water and Wildlife", "Subcommittee on Federal Lands"),
        ("wildfire prevention", "irrigation projects", "park maintenance", "hatchery funding"),
    ),
    Panel(
        "Committee on Science, Space, and Technology",
        ("Subcommittee on Research and Technology", "Subcommittee on Oversight"),
        ("weather satellites", "battery research", "laboratory safety", "launch licensing"),
    ),
    Panel(
        "Committee on Transportation and Infrastructure",
        ("Subcommittee on Aviation", "Subcommittee on Highways and Transit",
         "Subcommittee on Coast Guard and Maritime Transportation"),
        ("bridge repair", "airport staffing", "port congestion", "railroad crossings"),
    ),
    Panel(
        "Committee on Veterans' Affairs",
        ("Subcommittee on Economic Opportunity", "Subcommittee on Disability Assistance"),
        ("claims processing", "job training", "rural clinics", "home loan guarantees"),
    ),
)  # fmt: skip
SENATE_PANELS = (
    Panel(
        "Committee on Environment and Public Works",
        ("Subcommittee on Clean Air and Nuclear Safety", "Subcommittee on Fisheries and Water"),
        ("drinking water standards", "dredging permits", "reactor oversight", "wetland mapping"),
    ),
    Panel(
        "Committee on Finance",
        ("Subcommittee on Health Care", "Subcommittee on International Trade"),
        ("customs modernization", "tax administration", "hospital payments", "pension security"),
    ),
    Panel(
        "Committee on Indian Affairs",
        (),
        ("tribal housing", "school construction", "water settlements", "road safety"),
    ),
    Panel(
        "Committee on Small Business and Entrepreneurship",
        (),
        ("disaster loans", "federal contracting", "export promotion", "main street recovery"),
    ),
    Panel(
        "Committee on the Judiciary",
        ("Subcommittee on Antitrust and Consumer Rights", "Subcommittee on the Constitution"),
        ("patent backlogs", "court security", "privacy of records", "airline competition"),
    ),
    Panel(
        "Committee on Armed Services",
        ("Subcommittee on Personnel", "Subcommittee on Seapower"),
        ("military housing", "shipyard capacity", "recruit training", "spare parts"),
    ),
)  # fmt: skip
TITLES = (
    "Examining the State of {topic} in America",
    "Oversight of Federal Programs for {topic}",
    "The Future of {topic}",
    "Promise and Problems: {topic} After the Reform Act",
    "Barriers to {topic} in Rural Communities",
    "H.R. {number}, the {topic} Improvement Act",
    "Protecting Taxpayers: the Cost of {topic}",
    "A Review of {topic} and Its Effect on Local Economies",
    "{topic}: Lessons From the States",
    "Is the Federal Government Ready? {topic} in the Next Decade",
)

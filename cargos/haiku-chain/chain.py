"""A prompt, a model, and a step of our own that works on the words as they come."""
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator

PROMPT = ChatPromptTemplate.from_messages([
    ("system", "You write haiku and nothing else."),
    ("human", "A haiku about {input}, please."),
])
# Words of each line, as near to five, seven and five syllables as counting words comes.
LINES = [3, 4, 3]
# Letters after which a word ends anyway: a model of random weights seldom says a space.
LONGEST = 12


def words(parts):
    """Each word as soon as it is whole."""
    word = ""
    for letter in (letter for part in parts for letter in part):
        isspace = letter.isspace()
        word += "" if isspace else letter
        if word and (isspace or len(word) == LONGEST):
            yield word
            word = ""
    if word:
        yield word


def lines(parts):
    """Three lines of words; the rest of what the model says is left out."""
    said = words(parts)
    for count in LINES:
        for place in range(count):
            word = next(said, None)
            if word is None:
                return
            yield word + ("\n" if place + 1 == count else " ")


def chain(model):
    return PROMPT | model("longshore/tiny-chat", max_tokens=200) | StrOutputParser() | RunnableGenerator(lines)

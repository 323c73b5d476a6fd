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


def lines(parts):
    """Three lines of words; the rest of what the model says is left out."""
    rest, line, count = "", 0, 0
    for part in parts:
        *words, rest = (rest + part).split(" ")
        for word in filter(None, words):
            count += 1
            isend = count == LINES[line]
            yield word + ("\n" if isend else " ")
            if isend:
                line, count = line + 1, 0
            if line == len(LINES):
                return
    if rest:
        yield rest + "\n"


def chain(model):
    return PROMPT | model("longshore/tiny-chat", max_tokens=200) | StrOutputParser() | RunnableGenerator(lines)

"""LangChain's own standard suite for chat models, on ChatOpenAI against a coordinator. Run by pytest with LONGSHORE_URL and LONGSHORE_API_KEY.

It runs twice: on a server whose answers are known, where all of it holds, and on a tiny model of random weights behind
llama.cpp's server, which follows no instruction. What that one cannot do is listed here, by test.
"""
import os

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

NO_TOOLS = "a model of random weights calls no tool; llama.cpp lets any model speak before it has to call one"
NO_END = "a model of random weights ends no text inside a JSON document before its tokens are used up"
TINY_CANNOT = {
    "test_tool_calling": NO_TOOLS,
    "test_tool_calling_async": NO_TOOLS,
    "test_bind_runnables_as_tools": NO_TOOLS,
    "test_tool_choice": NO_TOOLS,
    "test_tool_calling_with_no_arguments": NO_TOOLS,
    "test_agent_loop": NO_TOOLS,
    "test_unicode_tool_call_integration": NO_TOOLS,
    "test_structured_output_pydantic_2_v1": NO_TOOLS,
    "test_structured_output": NO_END,
    "test_structured_output_async": NO_END,
    "test_structured_output_optional_param": NO_END,
}


def parameters(**more) -> dict:
    return {
        "base_url": os.environ["LONGSHORE_URL"] + "/v1", "api_key": os.environ["LONGSHORE_API_KEY"], "stream_usage": True,
        "max_retries": 0, "use_responses_api": False, **more,
    }


class TestKnownAnswers(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict:
        return parameters(model="scripted")


class TestTinyModel(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def what_it_cannot(self, request):
        reason = TINY_CANNOT.get(request.node.originalname)
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=False))

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict:
        return parameters(model="tiny-chat", temperature=0, max_tokens=64)

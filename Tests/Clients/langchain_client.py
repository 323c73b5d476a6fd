"""LangChain's own standard suite for chat models, on ChatOpenAI against a coordinator. Run by pytest with LONGSHORE_URL and LONGSHORE_API_KEY.

Answers come from the server whose answers are known: a tiny model of random weights follows no instruction.
"""
import os

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestChatOpenAI(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict:
        return {
            "model": "scripted", "base_url": os.environ["LONGSHORE_URL"] + "/v1", "api_key": os.environ["LONGSHORE_API_KEY"],
            "stream_usage": True, "max_retries": 0, "use_responses_api": False,
        }

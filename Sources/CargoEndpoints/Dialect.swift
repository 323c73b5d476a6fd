/// Whose protocol a model server speaks.
public enum Dialect: String, Hashable, Sendable, Codable, CaseIterable {
    /// OpenAI's, by whoever.
    case openAI = "openai"
    case llamaCpp = "llama.cpp"
    case lmStudio = "lm-studio"
    case vLLM = "vllm"
    /// JSON lines under `/api`.
    case ollama
}

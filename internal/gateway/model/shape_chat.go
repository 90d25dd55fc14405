package model

// chat is the body of chat/completions: OpenAI's, and members that other servers of this API take.
var chat = with(fields(
	"model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n",
	"temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs",
	"stop", "seed", "response_format", "tool_choice", "parallel_tool_calls", "functions", "function_call",
	"reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget", "chat_template_kwargs", "verbosity",
	"modalities", "prediction", "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "usage",
), map[string]rule{
	"messages":     list(object(chatMessage)),
	"tools":        list(shapes{tag: "type", of: map[string]rule{"function": object(fields("type", "function")), "custom": object(fields("type", "custom"))}, other: unknownTool}.judge),
	"store":        stored,
	"service_tier": priced("auto", "default"),
	"web_search_options": func(p policy, v value) *refusal {
		if v.isNull() {
			return nil
		}
		return onlyServerTools(p, "web search")
	},
})

var stored = never("the provider must not keep answers, because all sessions share one account there")

var chatMessage = with(fields(
	"role", "name", "refusal", "tool_call_id", "reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "reasoning_opaque",
	"function_call", "prefix", "cache_control", "extra_content",
), map[string]rule{
	"content": textOr(list(chatPart.judge)),
	"tool_calls": list(shapes{
		tag: "type",
		of: map[string]rule{
			"function": object(fields("type", "id", "index", "function", "extra_content", "cache_control")),
			"custom":   object(fields("type", "id", "index", "custom")),
		},
		missing: object(fields("id", "index", "function")),
		other:   unknownPart,
	}.judge),
	"audio": storedFile,
})

var chatPart = shapes{
	tag: "type",
	of: map[string]rule{
		"text":        object(fields("type", "text", "cache_control", "extra_content")),
		"refusal":     object(fields("type", "refusal")),
		"thinking":    object(fields("type", "thinking", "signature")),
		"reasoning":   object(fields("type", "text", "signature", "summary")),
		"input_audio": object(with(fields("type", "cache_control"), map[string]rule{"input_audio": object(map[string]rule{"data": notAnAddress, "format": text})})),
		"image_url":   addressPart("image_url", "detail"),
		"video_url":   addressPart("video_url"),
		"audio_url":   addressPart("audio_url"),
		"file": object(with(fields("type", "cache_control"), map[string]rule{
			"file": object(map[string]rule{"file_data": notAnAddress, "filename": text, "file_id": storedFile}),
		})),
	},
	other: unknownPart,
}

// addressPart is a part with content at an address.
func addressPart(name string, more ...string) rule {
	inner := object(with(fields(more...), map[string]rule{"url": dataURL}))
	return object(with(fields("type", "cache_control"), map[string]rule{
		name: func(p policy, v value) *refusal {
			if v.isText() {
				return dataURL(p, v)
			}
			return inner(p, v)
		},
	}))
}

// notAnAddress allows content in base64. Some servers take an address there as well.
func notAnAddress(p policy, v value) *refusal {
	for _, c := range v.text() {
		if c == ':' {
			return dataURL(p, v)
		}
	}
	return nil
}

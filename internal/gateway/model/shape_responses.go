package model

import "strings"

// responses is the body of OpenAI's responses.
var responses = with(fields(
	"model", "stream", "instructions", "max_output_tokens", "temperature", "top_p", "top_logprobs", "truncation", "reasoning", "text",
	"parallel_tool_calls", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "max_tool_calls",
), map[string]rule{
	"input":                textOr(list(responsesItem.judge)),
	"tools":                list(responsesTool.judge),
	"tool_choice":          textOr(responsesChoice),
	"include":              list(included),
	"store":                stored,
	"service_tier":         priced("auto", "default"),
	"stream_options":       object(fields("include_obfuscation")),
	"background":           never("answers in the background are kept at the provider, where all sessions share one account; stream the answer"),
	"previous_response_id": never("refers to an answer that is kept at the provider, where all sessions share one account; send the conversation itself"),
	"conversation":         never("refers to a conversation that is kept at the provider, where all sessions share one account; send it itself"),
	"prompt":               never("refers to a prompt that is kept at the provider; send the instructions themselves"),
})

// included are the parts of an answer that may be asked for.
func included(p policy, v value) *refusal {
	switch name := v.text(); {
	case name == "reasoning.encrypted_content", name == "message.output_text.logprobs", name == "message.input_image.image_url":
		return nil
	default:
		return onlyServerTools(p, name)
	}
}

var responsesTool = shapes{
	tag: "type",
	of: map[string]rule{
		"function":    object(fields("type", "name", "description", "parameters", "strict", "defer_loading")),
		"custom":      object(fields("type", "name", "description", "format", "defer_loading")),
		"local_shell": object(fields("type")),
		"apply_patch": object(fields("type")),
	},
	other: unknownTool,
}

// responsesChoice is the choice of a tool, or a list of tools.
func responsesChoice(p policy, v value) *refusal {
	return shapes{
		tag: "type",
		of: map[string]rule{
			"function":      object(fields("type", "name")),
			"custom":        object(fields("type", "name")),
			"apply_patch":   object(fields("type")),
			"allowed_tools": object(with(fields("type", "mode"), map[string]rule{"tools": list(responsesTool.judge)})),
		},
		other: unknownTool,
	}.judge(p, v)
}

// responsesItem is an item of the conversation.
var responsesItem = shapes{
	tag:     "type",
	missing: message,
	of: map[string]rule{
		"message":                 message,
		"function_call":           object(fields("type", "id", "call_id", "name", "arguments", "status", "namespace")),
		"function_call_output":    object(with(fields("type", "id", "call_id", "status"), map[string]rule{"output": textOr(list(responsesPart.judge))})),
		"custom_tool_call":        object(fields("type", "id", "call_id", "name", "input", "status")),
		"custom_tool_call_output": object(with(fields("type", "id", "call_id"), map[string]rule{"output": textOr(list(responsesPart.judge))})),
		"local_shell_call":        object(fields("type", "id", "call_id", "action", "status")),
		"local_shell_call_output": object(with(fields("type", "id", "call_id", "status"), map[string]rule{"output": text})),
		"apply_patch_call":        object(fields("type", "id", "call_id", "operation", "status")),
		"apply_patch_call_output": object(with(fields("type", "id", "call_id", "status"), map[string]rule{"output": text})),
		"reasoning":               object(fields("type", "id", "summary", "encrypted_content", "content", "status")),
		"compaction":              object(fields("type", "id", "encrypted_content")),
		"item_reference": func(policy, value) *refusal {
			return refuse(RuleState, "refers to an item that is kept at the provider, where all sessions share one account; send the item itself")
		},
	},
	// Calls of the provider's own tools come back in the conversation.
	other: func(p policy, tag string) *refusal {
		if strings.HasSuffix(tag, "_call") || strings.HasPrefix(tag, "mcp_") {
			return onlyServerTools(p, tag)
		}
		return unknownPart(p, tag)
	},
}

var message = object(with(fields("type", "id", "role", "status", "phase"), map[string]rule{"content": textOr(list(responsesPart.judge))}))

var responsesPart = shapes{
	tag: "type",
	of: map[string]rule{
		"input_text":  object(fields("type", "text")),
		"output_text": object(fields("type", "text", "annotations", "logprobs")),
		"refusal":     object(fields("type", "refusal")),
		"input_image": object(with(fields("type", "detail"), map[string]rule{"image_url": dataURL, "file_id": storedFile})),
		"input_audio": object(with(fields("type"), map[string]rule{"input_audio": object(map[string]rule{"data": notAnAddress, "format": text})})),
		"input_file": object(with(fields("type", "filename", "detail"), map[string]rule{
			"file_data": notAnAddress, "file_url": remoteURL, "file_id": storedFile,
		})),
	},
	other: unknownPart,
}

package model

import "strings"

// messages is the body of Anthropic's messages and messages/count_tokens.
var messages = with(fields(
	"model", "stream", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "thinking", "output_config", "output_format",
	"tool_choice", "cache_control",
), map[string]rule{
	"system":       textOr(list(shapes{tag: "type", of: map[string]rule{"text": textBlock}, other: unknownPart}.judge)),
	"messages":     list(object(map[string]rule{"role": text, "content": textOr(list(block.judge))})),
	"tools":        list(messagesTool.judge),
	"service_tier": priced("auto", "standard_only"),
	"speed":        priced("standard"),
	"mcp_servers":  serverSide("mcp_servers"),
	"container":    never("refers to a container that is kept at the provider, where all sessions share one account"),
})

// serverSide refuses a member of the body that makes the provider act, even an empty one.
func serverSide(what string) rule {
	return func(p policy, v value) *refusal {
		if v.isNull() {
			return nil
		}
		return onlyServerTools(p, what)
	}
}

// clientTools are the prefixes of Anthropic's own tools that the client runs; a date follows.
var clientTools = []string{"bash_", "text_editor_", "computer_", "memory_"}

var messagesTool = shapes{
	tag:     "type",
	of:      map[string]rule{"custom": customTool},
	missing: customTool,
	other: func(p policy, tag string) *refusal {
		for _, prefix := range clientTools {
			if date, found := strings.CutPrefix(tag, prefix); found && date != "" && strings.Trim(date, "0123456789") == "" {
				return nil
			}
		}
		return onlyServerTools(p, tag)
	},
}

var customTool = object(with(fields(
	"type", "name", "description", "input_schema", "cache_control", "strict", "eager_input_streaming", "defer_loading", "input_examples",
), map[string]rule{"allowed_callers": list(caller)}))

// caller allows the model itself as the caller of a tool, and code that the provider runs only with its tools.
func caller(p policy, v value) *refusal {
	if v.text() == "direct" {
		return nil
	}
	return onlyServerTools(p, v.text())
}

// Blocks of a message's content.
var (
	textBlock     = object(fields("type", "text", "cache_control", "citations"))
	imageBlock    = object(with(fields("type", "cache_control"), map[string]rule{"source": imageSource.judge}))
	documentBlock = object(with(fields("type", "cache_control", "title", "context", "citations"), map[string]rule{"source": documentSource.judge}))
	searchBlock   = object(with(fields("type", "cache_control", "title", "source", "citations"), map[string]rule{
		"content": list(shapes{tag: "type", of: map[string]rule{"text": textBlock}, other: unknownPart}.judge),
	}))
)

var block = shapes{
	tag: "type",
	of: map[string]rule{
		"text":              textBlock,
		"image":             imageBlock,
		"document":          documentBlock,
		"search_result":     searchBlock,
		"thinking":          object(fields("type", "thinking", "signature", "cache_control")),
		"redacted_thinking": object(fields("type", "data", "cache_control")),
		"tool_use":          object(fields("type", "id", "name", "input", "cache_control", "caller")),
		"tool_result": object(with(fields("type", "tool_use_id", "is_error", "cache_control"), map[string]rule{
			"content": textOr(list(shapes{
				tag:   "type",
				of:    map[string]rule{"text": textBlock, "image": imageBlock, "document": documentBlock, "search_result": searchBlock},
				other: unknownPart,
			}.judge)),
		})),
		"container_upload": keptFile,
	},
	// Blocks of the provider's own tools come back in the conversation.
	other: func(p policy, tag string) *refusal {
		if tag == "server_tool_use" || tag == "mcp_tool_use" || strings.HasSuffix(tag, "_tool_result") {
			return onlyServerTools(p, tag)
		}
		return unknownPart(p, tag)
	},
}

// Sources of images and documents.
var (
	embedded  = object(fields("type", "media_type", "data"))
	byAddress = object(map[string]rule{"type": text, "url": remoteURL})

	imageSource    = shapes{tag: "type", of: map[string]rule{"base64": embedded, "url": byAddress, "file": keptFile}, other: unknownPart}
	documentSource = shapes{
		tag: "type",
		of: map[string]rule{
			"base64": embedded, "text": embedded, "url": byAddress, "file": keptFile,
			"content": object(map[string]rule{"type": text, "content": textOr(list(shapes{
				tag: "type", of: map[string]rule{"text": textBlock, "image": imageBlock}, other: unknownPart,
			}.judge))}),
		},
		other: unknownPart,
	}
)

// keptFile refuses what refers to a file at the provider.
func keptFile(policy, value) *refusal { return refuse(RuleState, fileSentence) }

const fileSentence = "refers to a file that is kept at the provider, where all sessions share one account; send the content itself"

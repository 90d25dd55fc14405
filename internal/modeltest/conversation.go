package modeltest

import (
	"encoding/json"
	"strings"
)

// request is one of any kind, as far as the script needs it.
type request struct {
	Model    string
	Stream   bool
	Tools    []json.RawMessage
	Messages []message       // of chat, and of Anthropic
	Input    json.RawMessage // of responses: text, or items
	Contents []message       // of Google
}

// message is one of a conversation of any kind.
type message struct {
	Type    string
	Role    string
	Content json.RawMessage // text, or parts
	Output  json.RawMessage // of a tool, in responses
	Parts   []part
}

type part struct {
	Type             string
	Text             string
	Content          json.RawMessage // of a tool's result
	FunctionResponse *struct {
		Response struct{ Content, Output string }
	}
}

// last is what the last message says, and whether that is the result of a tool.
func (r request) last() (said string, result bool) {
	var items []message
	switch {
	case len(r.Messages) > 0:
		items = r.Messages
	case len(r.Contents) > 0:
		items = r.Contents
	default:
		if json.Unmarshal(r.Input, &items) != nil {
			return textOf(r.Input), false
		}
	}
	if len(items) == 0 {
		return "", false
	}
	m := items[len(items)-1]
	switch {
	case m.Type == "function_call_output":
		return textOf(m.Output), true
	case m.Role == "tool":
		return textOf(m.Content), true
	}
	for _, p := range append(m.Parts, partsOf(m.Content)...) {
		switch {
		case p.Type == "tool_result":
			return textOf(p.Content), true
		case p.FunctionResponse != nil:
			return p.FunctionResponse.Response.Content + p.FunctionResponse.Response.Output, true
		}
		said += p.Text
	}
	return said + plain(m.Content), false
}

func plain(content json.RawMessage) string {
	var text string
	_ = json.Unmarshal(content, &text)
	return text
}

func partsOf(content json.RawMessage) []part {
	var parts []part
	_ = json.Unmarshal(content, &parts)
	return parts
}

func textOf(content json.RawMessage) string {
	text := plain(content)
	for _, p := range partsOf(content) {
		text += p.Text
	}
	return text
}

// reply is what a model says.
type reply struct {
	command string // arguments of a call of the tool bash, as JSON; empty: none
	words   []string
}

// replyTo follows the script.
func replyTo(r request, s Script) reply {
	said, result := r.last()
	_, command, found := strings.Cut(said, Runs)
	switch {
	case s.Words > 0:
		words := make([]string, s.Words)
		for i := range words {
			words[i] = "word "
		}
		return reply{words: words}
	case result:
		return reply{words: strings.SplitAfter(Answers+said, " ")}
	case len(r.Tools) == 0:
		return reply{words: []string{Title}}
	case found:
		command, _, _ = strings.Cut(command, "\n")
		command = strings.TrimSuffix(command, `"`) // opencode run puts the prompt into quotation marks
		arguments, _ := json.Marshal(map[string]string{"command": command, "description": "Runs the command"})
		return reply{command: string(arguments)}
	default:
		return reply{words: strings.SplitAfter(Answers+said, " ")}
	}
}

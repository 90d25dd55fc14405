package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the scripted model understands and says.
const (
	ModelRuns    = "run: "              // in a prompt, before the command that the agent is to run
	ModelAnswers = "The command said: " // before the command's output
)

// ModelKey is the key that the scripted model wants.
const ModelKey = "the-operators-own-key"

// StartModel serves a scripted model on this machine, and returns its base URL. It speaks the part of the OpenAI API that OpenCode
// uses: for a prompt with a command it calls the tool bash, and with the tool's result it answers.
func StartModel(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(complete))
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

// message is one of a conversation. Its content is text, or a list of parts with text.
type message struct {
	Role    string
	Content json.RawMessage
}

func (m message) text() string {
	var text string
	if json.Unmarshal(m.Content, &text) == nil {
		return text
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(m.Content, &parts)
	for _, part := range parts {
		text += part.Text
	}
	return text
}

func complete(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+ModelKey {
		http.Error(w, "wrong key", http.StatusUnauthorized)
		return
	}
	var asked struct {
		Messages []message
		Tools    []json.RawMessage
	}
	if json.NewDecoder(r.Body).Decode(&asked) != nil || len(asked.Messages) == 0 {
		http.Error(w, "not a conversation", http.StatusBadRequest)
		return
	}
	last := asked.Messages[len(asked.Messages)-1]
	_, command, found := strings.Cut(last.text(), ModelRuns)
	w.Header().Set("Content-Type", "text/event-stream")
	switch {
	case len(asked.Tools) == 0: // for a title of the conversation
		sendCompletion(w, "stop", map[string]any{"content": "A conversation"})
	case last.Role == "user" && found:
		command, _, _ = strings.Cut(command, "\n")
		command = strings.TrimSuffix(command, `"`) // opencode run puts the prompt into quotation marks
		arguments, _ := json.Marshal(map[string]string{"command": command, "description": "Runs the command"})
		sendCompletion(w, "tool_calls", map[string]any{"tool_calls": []any{map[string]any{
			"index": 0, "id": "call_1", "type": "function", "function": map[string]any{"name": "bash", "arguments": string(arguments)},
		}}})
	default:
		var deltas []map[string]any
		for _, word := range strings.SplitAfter(ModelAnswers+last.text(), " ") {
			deltas = append(deltas, map[string]any{"content": word})
		}
		sendCompletion(w, "stop", deltas...)
	}
}

// sendCompletion sends the deltas of one completion.
func sendCompletion(w http.ResponseWriter, finish string, deltas ...map[string]any) {
	send := func(delta map[string]any, finish any, more map[string]any) {
		chunk := map[string]any{
			"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m1",
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}},
		}
		for name, value := range more {
			chunk[name] = value
		}
		text, _ := json.Marshal(chunk)
		_, _ = fmt.Fprintf(w, "data: %s\n\n", text)
		_ = http.NewResponseController(w).Flush()
	}
	send(map[string]any{"role": "assistant", "content": ""}, nil, nil)
	for _, delta := range deltas {
		send(delta, nil, nil)
	}
	send(map[string]any{}, finish, map[string]any{"usage": map[string]int{"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}})
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n")
}

package modeltest

import (
	"encoding/json"
	"strings"
)

func messagesUsage(t Tokens) object {
	return object{
		"input_tokens": t.Input - t.Cached, "cache_read_input_tokens": t.Cached, "cache_creation_input_tokens": 0, "output_tokens": t.Output,
	}
}

func messagesBegin(s *sender) {
	s.event("message_start", object{"type": "message_start", "message": object{
		"id": "msg_1", "type": "message", "role": "assistant", "model": s.call.Model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil,
		"usage": messagesUsage(s.tokens()),
	}})
	s.event("content_block_start", object{"type": "content_block_start", "index": 0, "content_block": object{"type": "text", "text": ""}})
}

func messagesWord(s *sender, text string) {
	s.event("content_block_delta", object{"type": "content_block_delta", "index": 0, "delta": object{"type": "text_delta", "text": text}})
}

func messagesEnd(s *sender, said reply) {
	s.event("content_block_stop", object{"type": "content_block_stop", "index": 0})
	reason := "end_turn"
	if said.command != "" {
		reason = "tool_use"
		s.event("content_block_start", object{"type": "content_block_start", "index": 1, "content_block": object{
			"type": "tool_use", "id": "toolu_1", "name": "bash", "input": object{},
		}})
		s.event("content_block_delta", object{"type": "content_block_delta", "index": 1, "delta": object{
			"type": "input_json_delta", "partial_json": said.command,
		}})
		s.event("content_block_stop", object{"type": "content_block_stop", "index": 1})
	}
	delta := object{"type": "message_delta", "delta": object{"stop_reason": reason, "stop_sequence": nil}}
	if !s.script.NoUsage {
		delta["usage"] = object{"output_tokens": s.tokens().Output}
	}
	s.event("message_delta", delta)
	s.event("message_stop", object{"type": "message_stop"})
}

func messagesWhole(s *sender, said reply) object {
	content := []any{object{"type": "text", "text": strings.Join(said.words, "")}}
	if said.command != "" {
		content = append(content, object{"type": "tool_use", "id": "toolu_1", "name": "bash", "input": json.RawMessage(said.command)})
	}
	return object{
		"id": "msg_1", "type": "message", "role": "assistant", "model": s.call.Model, "content": content, "stop_reason": "end_turn",
		"stop_sequence": nil, "usage": messagesUsage(s.tokens()),
	}
}

// candidate is one piece of Google's answer. Each has the count up to it.
func candidate(s *sender, parts []any, finish any) object {
	t := s.tokens()
	c := object{
		"candidates":    []any{object{"index": 0, "content": object{"role": "model", "parts": parts}, "finishReason": finish}},
		"usageMetadata": object{"promptTokenCount": t.Input, "cachedContentTokenCount": t.Cached, "candidatesTokenCount": t.Output - 1, "thoughtsTokenCount": 1, "totalTokenCount": t.Input + t.Output},
		"modelVersion":  s.call.Model,
	}
	if finish == nil {
		delete(c["candidates"].([]any)[0].(object), "finishReason")
	}
	if s.script.NoUsage {
		delete(c, "usageMetadata")
	}
	return c
}

func googleWord(s *sender, text string) { s.event("", candidate(s, []any{object{"text": text}}, nil)) }

func googleParts(said reply) []any {
	if said.command != "" {
		return []any{object{"functionCall": object{"name": "bash", "args": json.RawMessage(said.command)}}}
	}
	return []any{object{"text": ""}}
}

func googleEnd(s *sender, said reply) { s.event("", candidate(s, googleParts(said), "STOP")) }

func googleWhole(s *sender, said reply) object {
	parts := googleParts(said)
	if said.command == "" {
		parts = []any{object{"text": strings.Join(said.words, "")}}
	}
	return candidate(s, parts, "STOP")
}

package modeltest

import (
	"fmt"
	"strings"
)

func chunk(s *sender, delta object, finish any, usage any) {
	c := object{
		"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": s.call.Model,
		"choices": []any{object{"index": 0, "delta": delta, "finish_reason": finish}},
	}
	if usage != nil && !s.script.NoUsage {
		c["usage"] = usage
	}
	s.event("", c)
}

func chatUsage(t Tokens) object {
	return object{
		"prompt_tokens": t.Input, "completion_tokens": t.Output, "total_tokens": t.Input + t.Output,
		"prompt_tokens_details": object{"cached_tokens": t.Cached},
	}
}

func chatBegin(s *sender)             { chunk(s, object{"role": "assistant", "content": ""}, nil, nil) }
func chatWord(s *sender, text string) { chunk(s, object{"content": text}, nil, nil) }

func chatCall(arguments string) []any {
	return []any{object{"index": 0, "id": "call_1", "type": "function", "function": object{"name": "bash", "arguments": arguments}}}
}

func chatEnd(s *sender, said reply) {
	finish := "stop"
	if said.command != "" {
		finish = "tool_calls"
		chunk(s, object{"tool_calls": chatCall(said.command)}, nil, nil)
	}
	chunk(s, object{}, finish, chatUsage(s.tokens()))
	if s.err == nil {
		_, s.err = fmt.Fprint(s.w, "data: [DONE]\n\n")
	}
}

func chatWhole(s *sender, said reply) object {
	message := object{"role": "assistant", "content": strings.Join(said.words, "")}
	if said.command != "" {
		message["tool_calls"] = chatCall(said.command)
	}
	return object{
		"id": "c1", "object": "chat.completion", "created": 1, "model": s.call.Model, "usage": chatUsage(s.tokens()),
		"choices": []any{object{"index": 0, "message": message, "finish_reason": "stop"}},
	}
}

func responsesUsage(t Tokens) object {
	return object{
		"input_tokens": t.Input, "input_tokens_details": object{"cached_tokens": t.Cached},
		"output_tokens": t.Output, "output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": t.Input + t.Output,
	}
}

// response is the object that is in the events of a stream too.
func response(s *sender, status string, output []any, usage any) object {
	return object{
		"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": s.call.Model, "output": output,
		"parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{}, "usage": usage, "error": nil, "incomplete_details": nil,
	}
}

func responsesBegin(s *sender) {
	s.event("response.created", object{"type": "response.created", "sequence_number": 0, "response": response(s, "in_progress", []any{}, nil)})
	item := object{"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []any{}}
	s.event("response.output_item.added", object{"type": "response.output_item.added", "output_index": 0, "item": item})
}

func responsesWord(s *sender, text string) {
	s.event("response.output_text.delta", object{
		"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []any{},
	})
}

func responsesOutput(said reply) []any {
	output := []any{object{
		"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
		"content": []any{object{"type": "output_text", "text": strings.Join(said.words, ""), "annotations": []any{}}},
	}}
	if said.command != "" {
		output = append(output, responsesCall(said.command, "completed"))
	}
	return output
}

func responsesCall(arguments, status string) object {
	return object{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "bash", "arguments": arguments, "status": status}
}

func responsesEnd(s *sender, said reply) {
	output := responsesOutput(said)
	s.event("response.output_item.done", object{"type": "response.output_item.done", "output_index": 0, "item": output[0]})
	if said.command != "" {
		s.event("response.output_item.added", object{"type": "response.output_item.added", "output_index": 1, "item": responsesCall("", "in_progress")})
		s.event("response.function_call_arguments.delta", object{
			"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": said.command,
		})
		s.event("response.output_item.done", object{"type": "response.output_item.done", "output_index": 1, "item": output[1]})
	}
	var usage any
	if !s.script.NoUsage {
		usage = responsesUsage(s.tokens())
	}
	s.event("response.completed", object{"type": "response.completed", "response": response(s, "completed", output, usage)})
}

func responsesWhole(s *sender, said reply) object {
	return response(s, "completed", responsesOutput(said), responsesUsage(s.tokens()))
}

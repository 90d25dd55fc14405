package model

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"berth/internal/usage"
)

// streams are answers with their counts.
var streams = []struct {
	api    api
	stream bool
	text   string
	want   usage.Result
}{
	{apiChat, true, `data: {"choices":[{"delta":{"content":"a \"usage\":{\"prompt_tokens\":9} b"}}]}

data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}

data: [DONE]

`, usage.Result{Tokens: usage.Tokens{Input: 10, Cached: 4, Output: 5}}},
	{
		apiChat, true, "data: {\"choices\":[{\"delta\":{\"usage\":{\"prompt_tokens\":9}}}],\"usage\":null}\r\n\r\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\r\n\r\ndata: [DONE]\r\n\r\n",
		usage.Result{Tokens: usage.Tokens{Input: 3, Output: 2}},
	},
	{apiChat, true, ": comment\n\nevent: x\ndata: {\"usage\":\ndata: {\"prompt_tokens\":3,\ndata:\"completion_tokens\":2}}\n\ndata: [DONE]", usage.Result{Tokens: usage.Tokens{Input: 3, Output: 2}}},
	{apiMessages, true, `event: message_start
data: {"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":1}}}

event: content_block_delta
data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"hello"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":42}}

event: message_stop
data: {"type":"message_stop"}

`, usage.Result{Tokens: usage.Tokens{Input: 125, Cached: 100, Output: 42}}},
	{apiResponses, true, `event: response.created
data: {"type":"response.created","response":{"usage":null}}

data: {"type":"response.output_text.delta","delta":"hello"}

data: {"type":"response.completed","response":{"output":[{"usage":{"input_tokens":1}}],"usage":{"input_tokens":30,"input_tokens_details":{"cached_tokens":10},"output_tokens":7}}}

`, usage.Result{Tokens: usage.Tokens{Input: 30, Cached: 10, Output: 7}}},
	{apiGenerate, true, `data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":1}}

data: {"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8,"cachedContentTokenCount":3,"candidatesTokenCount":2,"thoughtsTokenCount":6}}

`, usage.Result{Tokens: usage.Tokens{Input: 8, Cached: 3, Output: 8}}},
	{apiChat, false, `{"usage":{"prompt_tokens":1,"completion_tokens":2},"choices":[]}`, usage.Result{Tokens: usage.Tokens{Input: 1, Output: 2}}},
	{apiResponses, false, `{"object":"response","output":[],"usage":{"input_tokens":1,"output_tokens":2}}`, usage.Result{Tokens: usage.Tokens{Input: 1, Output: 2}}},
	// Providers that lie, or say nothing.
	{apiChat, false, `{"usage":{"prompt_tokens":-5,"completion_tokens":99999999999999999}}`, usage.Result{Tokens: usage.Tokens{Output: maxTokens}}},
	{apiChat, false, `{"choices":[{"message":{"content":"123456"}}]}`, usage.Result{Tokens: usage.Tokens{Input: 100, Output: 2}, Estimated: true}},
	{apiMessages, false, `no JSON at all`, usage.Result{Tokens: usage.Tokens{Input: 100}, Estimated: true}},
}

// countIn counts an answer that arrives in pieces.
func countIn(a api, stream bool, pieces ...[]byte) usage.Result {
	c := newCounter(a, stream)
	for _, piece := range pieces {
		_, _ = c.Write(piece)
	}
	c.end()
	return c.result(300)
}

func TestCountsAreReadFromAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range streams {
		if got := countIn(tc.api, tc.stream, []byte(tc.text)); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.text, got, tc.want)
		}
	}
}

func TestCountDoesNotDependOnPieces(t *testing.T) {
	t.Parallel()
	for _, tc := range streams {
		for i := range len(tc.text) {
			if got := countIn(tc.api, tc.stream, []byte(tc.text[:i]), []byte(tc.text[i:])); got != tc.want {
				t.Fatalf("%q split at %d: got %+v, want %+v", tc.text, i, got, tc.want)
			}
		}
		var single [][]byte
		for i := range len(tc.text) {
			single = append(single, []byte{tc.text[i]})
		}
		if got := countIn(tc.api, tc.stream, single...); got != tc.want {
			t.Errorf("%q in bytes: got %+v, want %+v", tc.text, got, tc.want)
		}
	}
}

func TestCutStreamIsEstimatedFromWhatWasSent(t *testing.T) {
	t.Parallel()
	c := newCounter(apiMessages, true)
	_, _ = c.Write([]byte(`data: {"type":"message_start","message":{"usage":{"input_tokens":50,"output_tokens":1}}}` + "\n\n"))
	for range 10 {
		_, _ = c.Write([]byte(`data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"123456"}}` + "\n\n"))
	}
	want := usage.Result{Tokens: usage.Tokens{Input: 50, Output: 20}, Estimated: true}
	if got := c.result(9000); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCounterKeepsLittleOfHugeAnswers(t *testing.T) {
	t.Parallel()
	c := newCounter(apiResponses, true)
	piece := []byte(strings.Repeat("x", 1<<16))
	_, _ = c.Write([]byte(`data: {"type":"response.completed","response":{"output":"`))
	for range 64 {
		_, _ = c.Write(piece)
	}
	_, _ = c.Write([]byte(`","usage":{"input_tokens":3,"output_tokens":4}}}` + "\n\n"))
	if got, want := c.result(0), (usage.Result{Tokens: usage.Tokens{Input: 3, Output: 4}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := cap(c.scan.captured) + cap(c.scan.text) + cap(c.scan.name); n > 1<<12 {
		t.Errorf("keeps %d bytes", n)
	}
	deep := newCounter(apiChat, false)
	_, _ = deep.Write([]byte(strings.Repeat("[", 1<<16)))
	if !deep.result(3).Estimated {
		t.Error("an answer that cannot be read is counted")
	}
}

// FuzzCount checks that the count of an answer does not depend on the pieces in which it arrives, and that it is what another
// parser finds in an answer that is one JSON value.
func FuzzCount(f *testing.F) {
	for _, tc := range streams {
		f.Add(int(tc.api), tc.stream, []byte(tc.text), uint(7))
	}
	f.Fuzz(func(t *testing.T, kind int, stream bool, text []byte, at uint) {
		a := api(kind)
		if a < apiChat || a > apiGenerate {
			return
		}
		want := countIn(a, stream, text)
		i := int(at % uint(len(text)+1))
		if got := countIn(a, stream, text[:i], text[i:]); got != want {
			t.Errorf("%q split at %d: got %+v, want %+v", text, i, got, want)
		}
		if stream || a != apiChat || !json.Valid(text) {
			return
		}
		if err := sameCount(text, want); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// sameCount compares the count of a plain answer with that of encoding/json, where both read the same.
func sameCount(text []byte, got usage.Result) error {
	if value, err := parseStrict(text); err != nil || !value.isObject() || value.member("usage") == nil || !value.member("usage").isObject() {
		return nil //nolint:nilerr // parsers may differ
	}
	var v struct {
		Usage struct {
			Prompt     *int64 `json:"prompt_tokens"`
			Completion *int64 `json:"completion_tokens"`
		} `json:"usage"`
	}
	err := json.Unmarshal(text, &v)
	if err != nil || strings.Contains(strings.ToLower(string(text)), "cach") || strings.Contains(string(text), `\u`) ||
		strings.Count(strings.ToLower(string(text)), "usage") != 1 || strings.Contains(string(text), "input") || strings.Contains(string(text), "output") || strings.Contains(string(text), "Token") {
		return nil //nolint:nilerr // the same
	}
	if in, out := sum(v.Usage.Prompt), sum(v.Usage.Completion); !got.Estimated && (got.Tokens.Input != in || got.Tokens.Output != out) {
		return fmt.Errorf("got %+v, want input %d and output %d", got, in, out)
	}
	return nil
}

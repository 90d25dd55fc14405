package model

import (
	"bytes"
	"encoding/json"

	"berth/internal/usage"
)

// counter reads an answer, in pieces of any size, for the tokens that its provider has counted.
type counter struct {
	api    api
	events *events // nil: the answer is one value
	scan   *scanner
	start  []byte // first bytes of an event

	tokens counted
	known  bool // the provider's count was seen
	final  bool // and nothing can change it any more
}

// counted is a provider's count in the terms of its own API. A member that is given replaces an earlier one.
type counted struct {
	// OpenAI's chat, and its older members of other servers.
	PromptTokens     *int64 `json:"prompt_tokens"`
	CompletionTokens *int64 `json:"completion_tokens"`
	PromptDetails    struct {
		Cached *int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	PromptCacheHits *int64 `json:"prompt_cache_hit_tokens"`
	// OpenAI's responses, and Anthropic.
	InputTokens  *int64 `json:"input_tokens"`
	OutputTokens *int64 `json:"output_tokens"`
	InputDetails struct {
		Cached *int64 `json:"cached_tokens"`
	} `json:"input_tokens_details"`
	CacheCreation *int64 `json:"cache_creation_input_tokens"`
	CacheRead     *int64 `json:"cache_read_input_tokens"`
	// Google.
	PromptTokenCount    *int64 `json:"promptTokenCount"`
	ToolPromptCount     *int64 `json:"toolUsePromptTokenCount"`
	CachedContentCount  *int64 `json:"cachedContentTokenCount"`
	CandidatesCount     *int64 `json:"candidatesTokenCount"`
	ThoughtsTokensCount *int64 `json:"thoughtsTokenCount"`
}

// maxTokens is more than any call uses: a count above it is a fault of the provider.
const maxTokens = 1 << 40

func sum(all ...*int64) int64 {
	var total int64
	for _, n := range all {
		if n != nil {
			total += min(max(*n, 0), maxTokens)
		}
	}
	return total
}

func first(all ...*int64) *int64 {
	for _, n := range all {
		if n != nil {
			return n
		}
	}
	return nil
}

// newCounter returns the counter of an answer.
func newCounter(a api, stream bool) *counter {
	c := &counter{api: a, scan: newScanner(writtenIn(a)...)}
	if stream {
		c.events = &events{data: c.data, end: c.endEvent}
	}
	return c
}

// writtenIn are the names of members with text that the model has written.
func writtenIn(a api) []string {
	switch a {
	case apiResponses: // its streams repeat the text at the end of each part
		return []string{"delta"}
	case apiMessages:
		return []string{"text", "thinking", "partial_json"}
	case apiGenerate:
		return []string{"text"}
	default:
		return []string{"content", "reasoning_content", "reasoning", "arguments"}
	}
}

// Write reads a piece of the answer. It never fails.
func (c *counter) Write(piece []byte) (int, error) {
	if c.events != nil {
		c.events.write(piece)
	} else {
		c.scan.write(piece)
	}
	return len(piece), nil
}

const done = "[DONE]"

func (c *counter) data(piece []byte) {
	c.start = appendUpTo(c.start, piece, len(done)+1)
	c.scan.write(piece)
}

// endEvent takes the counts of an event.
func (c *counter) endEvent() {
	if string(bytes.TrimSpace(c.start)) == done && c.known {
		c.final = true
	}
	c.start = c.start[:0]
	c.take()
	c.scan.reset()
}

// end takes the counts of an answer that has ended as it should.
func (c *counter) end() {
	if c.events == nil {
		c.take()
	} else if c.events.any { // the last line end is missing
		c.endEvent()
	}
	c.final = c.known
}

// take adds what the scanner has found.
func (c *counter) take() {
	for _, in := range []member{other, memberMessage, memberResponse} {
		found := c.scan.found[in]
		if found == nil || c.api == apiResponses != (in == memberResponse) && c.events != nil {
			continue
		}
		if json.Unmarshal(found, &c.tokens) != nil {
			continue
		}
		switch c.api {
		case apiMessages:
			// The count at the beginning of a stream has no output yet.
			c.known = c.known || c.events == nil || c.scan.kind == "message_delta"
		case apiResponses, apiGenerate, apiChat:
			c.known = true
		default:
		}
	}
	switch {
	case !c.known:
	case c.api == apiMessages && c.scan.kind == "message_stop",
		c.api == apiResponses && (c.scan.kind == "response.completed" || c.scan.kind == "response.incomplete" || c.scan.kind == "response.failed"):
		c.final = true
	}
}

// result is the count, or an estimate where the provider's own was not seen. request is the size of the request in bytes, of which
// a token has three or more.
func (c *counter) result(request int64) usage.Result {
	t := c.tokens
	tokens := usage.Tokens{
		Input:  sum(first(t.PromptTokens, t.InputTokens, t.PromptTokenCount), t.CacheCreation, t.CacheRead, t.ToolPromptCount),
		Cached: sum(first(t.PromptDetails.Cached, t.PromptCacheHits, t.InputDetails.Cached, t.CacheRead, t.CachedContentCount)),
		Output: sum(first(t.CompletionTokens, t.OutputTokens, t.CandidatesCount), t.ThoughtsTokensCount),
	}
	tokens.Cached = min(tokens.Cached, tokens.Input)
	if c.final {
		return usage.Result{Tokens: tokens}
	}
	if tokens.Input == 0 {
		tokens.Input = request / bytesOfToken
	}
	tokens.Output = max(tokens.Output, (c.scan.written+bytesOfToken-1)/bytesOfToken)
	return usage.Result{Tokens: tokens, Estimated: true}
}

// bytesOfToken is the size of a token for estimates: less than most have, so that an estimate is rather too high.
const bytesOfToken = 3

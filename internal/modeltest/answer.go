package modeltest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type object = map[string]any

// sender sends one answer, and counts.
type sender struct {
	p      *Provider
	w      http.ResponseWriter
	r      *http.Request
	script Script
	call   *Call
	err    error
}

// answer sends the reply to a request.
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, asked request, script Script, call *Call) {
	s := &sender{p: p, w: w, r: r, script: script, call: call}
	input := int64(len(call.Body)/4 + 1)
	s.count(Tokens{Input: input, Cached: input / 2})
	if strings.HasSuffix(r.URL.Path, "/count_tokens") {
		s.document(object{"input_tokens": input})
		return
	}
	said := replyTo(asked, script)
	k := kinds[p.kind]
	if strings.HasSuffix(r.URL.Path, "/chat/completions") {
		k = kinds[OpenAICompatible]
	}
	if !asked.Stream {
		s.count(Tokens{Output: int64(len(said.words)) + 1})
		s.document(k.whole(s, said))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	k.begin(s)
	if script.Huge > 0 {
		s.word(k, strings.Repeat("x", script.Huge))
	}
	for i := 0; i < len(said.words) || script.Endless; i++ {
		s.word(k, said.words[i%len(said.words)])
		if s.err != nil {
			return
		}
	}
	s.count(Tokens{Output: 1})
	k.end(s, said)
	if s.err == nil {
		p.mu.Lock()
		call.Ended = true
		p.mu.Unlock()
	}
}

// word sends one piece of text, which is a token.
func (s *sender) word(k kind, text string) {
	s.count(Tokens{Output: 1})
	k.word(s, text)
	if s.err == nil {
		s.err = wait(s.r, s.script.Pause)
	}
	if s.err == nil && s.script.Hold != nil {
		select {
		case <-s.script.Hold:
		case <-s.r.Context().Done():
			s.err = s.r.Context().Err()
		}
	}
}

func (s *sender) count(t Tokens) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.call.Tokens.Input += t.Input
	s.call.Tokens.Cached += t.Cached
	s.call.Tokens.Output += t.Output
}

// tokens are those up to now.
func (s *sender) tokens() Tokens {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.call.Tokens
}

// document sends an answer that is no stream.
func (s *sender) document(body object) {
	if s.script.NoUsage {
		delete(body, "usage")
		delete(body, "usageMetadata")
	}
	s.w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(s.w).Encode(body)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.call.Ended = true
}

// event sends an event. Its name may be empty.
func (s *sender) event(name string, data object) {
	if s.err != nil {
		return
	}
	text, _ := json.Marshal(data)
	if name != "" {
		name = "event: " + name + "\n"
	}
	if _, s.err = fmt.Fprintf(s.w, "%sdata: %s\n\n", name, text); s.err == nil {
		_ = http.NewResponseController(s.w).SetWriteDeadline(time.Now().Add(time.Minute))
		s.err = http.NewResponseController(s.w).Flush()
	}
}

// kind is the form of answers of one kind.
type kind struct {
	begin func(s *sender)
	word  func(s *sender, text string)
	end   func(s *sender, said reply)
	whole func(s *sender, said reply) object
}

var kinds = map[string]kind{
	OpenAICompatible: {chatBegin, chatWord, chatEnd, chatWhole},
	OpenAI:           {responsesBegin, responsesWord, responsesEnd, responsesWhole},
	Anthropic:        {messagesBegin, messagesWord, messagesEnd, messagesWhole},
	Google:           {func(*sender) {}, googleWord, googleEnd, googleWhole},
}

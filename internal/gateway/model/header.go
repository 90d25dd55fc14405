package model

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"berth/internal/session"
)

// betas are the names of Anthropic's features that sessions may ask for: those that change the form of requests and answers, and
// neither what the provider keeps or runs nor what a call costs. A date follows.
var betas = []string{
	"structured-outputs", "thinking-binding-controls", "interleaved-thinking", "fine-grained-tool-streaming", "effort", "output-128k",
	"prompt-caching", "extended-cache-ttl", "token-efficient-tools", "token-counting", "pdfs", "computer-use", "task-budgets",
}

var beta = regexp.MustCompile(`^([a-z0-9-]+)-20[0-9]{2}-[0-9]{2}-[0-9]{2}$`)

// requestHeader makes the header of a call to the provider. Of what the session has sent it has the features of Anthropic's API only.
func requestHeader(kind Kind, stream bool, key session.Secret, sent http.Header) http.Header {
	h := http.Header{
		"Content-Type":    {"application/json"},
		"Accept":          {"application/json"},
		"Accept-Encoding": {"identity"}, // the count of tokens is read from the answer
		"User-Agent":      {"berth"},
	}
	if stream {
		h.Set("Accept", "text/event-stream")
	}
	switch kind {
	case Anthropic:
		h.Set("X-Api-Key", key.Reveal())
		h.Set("Anthropic-Version", "2023-06-01")
		if features := allowedBetas(sent); features != "" {
			h.Set("Anthropic-Beta", features)
		}
	case Google:
		h.Set("X-Goog-Api-Key", key.Reveal())
	default:
		h.Set("Authorization", "Bearer "+key.Reveal())
	}
	return h
}

// allowedBetas are the features of a header that may be sent; the others are left out.
func allowedBetas(sent http.Header) string {
	var all []string
	for name := range strings.SplitSeq(strings.Join(sent.Values("Anthropic-Beta"), ","), ",") {
		name = strings.TrimSpace(name)
		if match := beta.FindStringSubmatch(name); match != nil && slices.Contains(betas, match[1]) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}

// passed are the fields of a provider's answer that sessions get, in addition to its type.
var passed = []string{"Retry-After", "Retry-After-Ms", "Request-Id", "X-Request-Id"}

// answerHeader fills in the header of an answer.
func answerHeader(to http.Header, from http.Header) {
	for _, name := range passed {
		if value := from.Get(name); value != "" && len(value) <= 200 {
			to.Set(name, value)
		}
	}
	to.Set("Cache-Control", "no-store")
	to.Set("X-Content-Type-Options", "nosniff")
}

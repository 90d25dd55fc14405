package model

import (
	"encoding/json"
	"net/http"
)

// list answers with the models that are allowed, in the form of the kind's API.
func (p *provider) list(w http.ResponseWriter) {
	var entries []any
	for _, id := range p.order {
		m := p.Models[id]
		switch p.Kind {
		case Google:
			entries = append(entries, map[string]any{
				"name": "models/" + id, "displayName": m.label(id), "inputTokenLimit": m.Context, "outputTokenLimit": m.Output,
				"supportedGenerationMethods": []string{"generateContent"},
			})
		case Anthropic:
			entries = append(entries, map[string]any{"type": "model", "id": id, "display_name": m.label(id), "created_at": "1970-01-01T00:00:00Z"})
		default:
			entries = append(entries, map[string]any{"object": "model", "id": id, "created": 0, "owned_by": p.Name})
		}
	}
	answer := map[string]any{"object": "list", "data": entries}
	switch {
	case p.Kind == Google:
		answer = map[string]any{"models": entries}
	case p.Kind == Anthropic:
		answer = map[string]any{"data": entries, "has_more": false, "first_id": p.order[0], "last_id": p.order[len(p.order)-1]}
	}
	text, _ := json.Marshal(answer)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text)
}

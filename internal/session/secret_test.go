package session_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"berth/internal/session"
)

func TestSecretIsRedactedWhenPrinted(t *testing.T) {
	t.Parallel()
	type holder struct{ S session.Secret }
	const text = "hunter2hunter2"
	h := holder{text}
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", h.S, "holder", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", h.S, "holder", h)
	for name, got := range map[string]string{
		"json": string(encoded), "log": log.String(),
		"%v": fmt.Sprintf("%v", h), "%+v": fmt.Sprintf("%+v", h), "%#v": fmt.Sprintf("%#v", h), "%s": fmt.Sprintf("%s", h.S),
		"%q": fmt.Sprintf("%q", h.S), "%x": fmt.Sprintf("%x", h.S), "%d": fmt.Sprintf("%d", h.S), "error": fmt.Errorf("%w %v", fmt.Errorf("x"), h.S).Error(),
	} {
		if strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
			t.Errorf("%s shows the secret: %s", name, got)
		}
	}
}

package main

import (
	"fmt"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/outcome"
	"berth/internal/session"
)

func TestEveryCodeHasSameExitCodeLocallyAndFromAPI(t *testing.T) {
	t.Parallel()
	for _, code := range session.Codes() {
		want := outcome.Of(code).Exit
		if want < exitFailure || want > exitUnavailable {
			t.Errorf("%s: its exit code is %d, which is not documented", code, want)
		}
		for name, err := range map[string]error{
			"from the API": &apiError{Problem: httpapi.Problem{Code: code}},
			"local":        fmt.Errorf("open the store: %w", session.Errorf(code, "x")),
		} {
			if got := exitCode(err); got != want {
				t.Errorf("%s, %s: got %d, want %d", code, name, got, want)
			}
		}
	}
}

package httpapi_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/session"
)

func TestEveryCodeIsExplainedToOperators(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range session.Codes() {
		row := fmt.Sprintf("| `%s` | %d", code, httpapi.ProblemOf(session.Errorf(code, "x")).Status)
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/operating.md has no row that begins with %q", row)
		}
	}
}

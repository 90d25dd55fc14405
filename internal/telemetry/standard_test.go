package telemetry

import (
	"log" //nolint:depguard // what is redirected
	"os"
	"strings"
	"testing"
)

//nolint:paralleltest // there is one standard logger
func TestStandardLogIsOneBoundedHarmlessLine(t *testing.T) {
	for _, format := range []string{FormatHuman, FormatJSON} {
		lines, b := capture(t, format)
		undo := RedirectStandardLog(lines)
		log.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=<nil>", "\x1b]0;x\a")
		log.Print("raw \x1b[2J\u202e\nERROR a line of its own \xff " + strings.Repeat("x", 4096))
		undo()
		got := b.String()
		if n := strings.Count(got, "\n"); n != 2 || !strings.Contains(got, "Unsolicited response") {
			t.Errorf("%s: got %d lines, want 2: %q", format, n, got)
		}
		if len(got) > 2*(mostStandard+256) || strings.ContainsAny(got, "\x1b\a\u202e") {
			t.Errorf("%s: got %d bytes, want them bounded and without control characters: %q", format, len(got), got)
		}
		log.SetOutput(os.Stderr)
	}
}

package telemetry

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestHumanLineHasContractFormat(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatHuman)
	ctx := WithSessionID(WithRequestID(t.Context(), "req-1"), "ses-1")
	Named(log, "proxy").InfoContext(ctx, "session created", "took", 2*time.Second, "note", `two "words"`, durationKey, 1500*time.Microsecond)

	want := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[INFO \] proxy:TestHumanLineHasContractFormat:\d+ \[req-1\] - ` +
		`session created session_id=ses-1 duration_ms=1.5 took=2s note="two \\"words\\""\n$`)
	if !want.MatchString(b.String()) {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	b.Reset()
	log.ErrorContext(t.Context(), "x", operationKey, "sweep")
	if !regexp.MustCompile(`\[ERROR\] berth:sweep:\d+ \[-\] - x\n$`).MatchString(b.String()) {
		t.Errorf("line without a request: got %s", b)
	}
}

func TestColourIsOnlyForTerminals(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatHuman)
	log.InfoContext(t.Context(), "x", "k", 1)
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("colour in output that is no terminal: %q", b)
	}
	e := newEntry(context.Background(), slog.NewRecord(time.Time{}, slog.LevelWarn, "x", 0), nil, "")
	if got := string(humanEncoder(true)(nil, e)); !strings.Contains(got, "[\x1b[33mWARNING\x1b[0m]") {
		t.Errorf("with colour: got %q, want a yellow WARNING", got)
	}
}

func FuzzLinesCannotBeForgedNorControlTerminal(f *testing.F) {
	for _, seed := range []string{
		"line\n2024-01-15 10:30:45 [INFO ] berth:x:1 [-] - forged", "\x1b[2J", "\r", "\u2028", "\u202e", "\xff\xfe", "a=b c", "",
	} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, key, text string) {
		for _, format := range []string{FormatHuman, FormatJSON} {
			log, b := capture(t, format)
			ctx := WithSessionID(WithRequestID(t.Context(), text), text)
			Named(log, text).With(key, text).InfoContext(ctx, text, "any", []string{text}, "err", slog.AnyValue(textError(text)), operationKey, text)
			line := strings.TrimSuffix(b.String(), "\n")
			if strings.Count(b.String(), "\n") != 1 || !utf8.ValidString(line) {
				t.Fatalf("%s: got %q, want one line of UTF-8", format, b)
			}
			for _, r := range line {
				if r < ' ' || format == FormatHuman && unprintable(r) {
					t.Fatalf("%s: %q is in the line %q", format, r, line)
				}
			}
			if format == FormatJSON {
				decode(t, line)
			}
		}
	})
}

type textError string

func (e textError) Error() string { return string(e) }

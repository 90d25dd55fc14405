package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func decode(t *testing.T, line string) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("line is not JSON: %v\n%s", err, line)
	}
	return got
}

func TestJSONLineHasContractFields(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	ctx := WithSessionID(WithRequestID(t.Context(), "req-abc123"), "ses-xyz789")
	Named(log, "session").InfoContext(ctx, "session created", operationKey, "create_session", durationKey, 245670*time.Microsecond)

	line := b.String()
	stamp := regexp.MustCompile(`^\{"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",`).FindString(line)
	want := `"level":"INFO","logger":"session","message":"session created","request_id":"req-abc123",` +
		`"session_id":"ses-xyz789","operation":"create_session","duration_ms":245.67}` + "\n"
	if stamp == "" || strings.TrimPrefix(line, stamp) != want {
		t.Errorf("got  %s\nwant the timestamp and then %s", line, want)
	}
}

func TestTimestampIsUTCToTheMillisecond(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	zone := time.FixedZone("east", 3600)
	r := slog.NewRecord(time.Date(2024, 1, 15, 11, 30, 45, 123_999_999, zone), slog.LevelInfo, "x", 0)
	if err := log.Handler().Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := decode(t, b.String())["timestamp"]; got != "2024-01-15T10:30:45.123Z" {
		t.Errorf("timestamp: got %v, want 2024-01-15T10:30:45.123Z", got)
	}
}

func TestUnknownFieldsAreLeftOutAndOperationIsTheFunction(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	func() { log.WarnContext(t.Context(), "inside a closure") }()
	got := decode(t, b.String())
	delete(got, "timestamp")
	want := map[string]any{
		"level": "WARNING", "logger": "berth", "message": "inside a closure",
		"operation": "TestUnknownFieldsAreLeftOutAndOperationIsTheFunction",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
}

func TestAttributeTypesArePreserved(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	log.With("kept", 1).WithGroup("g").With("in", true).InfoContext(t.Context(), "x",
		"err", errors.New("boom"), "nan", math.NaN(), "wait", 3*time.Second, "list", []int{1, 2},
		slog.Group("sub", "n", 1), slog.Group("", "flat", 2), slog.Group("empty"), "twice", 1, "twice", 2, "bad", func() {})
	got := decode(t, b.String())
	for _, k := range []string{"timestamp", "level", "logger", "message", "operation"} {
		delete(got, k)
	}
	bad, _ := got["g.bad"].(string)
	delete(got, "g.bad")
	want := map[string]any{
		"kept": 1.0, "g.in": true, "g.err": "boom", "g.nan": "NaN", "g.wait": "3s", "g.list": []any{1.0, 2.0},
		"g.sub.n": 1.0, "g.flat": 2.0, "g.twice": 2.0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if !strings.Contains(bad, "ERROR") {
		t.Errorf("value that JSON cannot represent: got %q, want a note instead of a lost line", bad)
	}
}

func TestAttributesCannotReplaceFixedFields(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	log.InfoContext(t.Context(), "real", "message", "forged", "level", "DEBUG", "timestamp", "never")
	got := decode(t, b.String())
	if got["message"] != "real" || got["level"] != "INFO" || got["message_"] != "forged" {
		t.Errorf("got %v, want the fixed fields to stand and the attributes beside them", got)
	}
	if strings.Count(b.String(), `"level":`) != 1 {
		t.Errorf("a key appears twice: %s", b)
	}
}

type secret string

func (secret) LogValue() slog.Value         { return slog.StringValue("[redacted]") }
func (secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

func TestSecretsAreNotWritten(t *testing.T) {
	t.Parallel()
	type holder struct {
		Token  secret
		hidden secret
	}
	for _, format := range []string{FormatJSON, FormatHuman} {
		log, b := capture(t, format)
		log.With("with", secret("hunter2")).InfoContext(t.Context(), "x", "bare", secret("hunter2"),
			"in", holder{Token: "hunter2", hidden: "hunter2"}, "by", &holder{Token: "hunter2"}, "map", map[string]secret{"a": "hunter2"})
		if strings.Contains(b.String(), "hunter2") || strings.Count(b.String(), "[redacted]") != 5 {
			t.Errorf("%s: got %s, want every secret redacted", format, b)
		}
	}
}

func TestLevelsHaveContractNames(t *testing.T) {
	t.Parallel()
	log, b := capture(t, FormatJSON)
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "DEBUG", slog.LevelInfo: "INFO", slog.LevelWarn: "WARNING", slog.LevelError: "ERROR",
		LevelCritical: "CRITICAL", slog.LevelInfo + 1: "INFO", slog.LevelDebug - 4: "",
	} {
		b.Reset()
		log.LogAttrs(context.Background(), level, "x")
		if want == "" {
			if b.Len() != 0 {
				t.Errorf("level %v is below DEBUG: got %s, want nothing", level, b)
			}
			continue
		}
		if got := decode(t, b.String())["level"]; got != want {
			t.Errorf("level %v: got %v, want %s", level, got, want)
		}
	}
}

// Lines quote text of users and containers, and are read on terminals.
func TestJSONLineCannotControlTerminal(t *testing.T) {
	t.Parallel()
	const said = "\x1b[2J\u009b2J\u202e\u2066\x7f\U000e0041 ümlaut 日本🙂"
	line := string(encodeJSON(nil, entry{level: "INFO", logger: "x", message: said, attrs: []slog.Attr{slog.String("k", said)}}))
	for _, r := range line {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%U is in the line %q", r, line)
		}
	}
	var got struct{ Message, K string }
	if err := json.Unmarshal([]byte(line), &got); err != nil || got.Message != said || got.K != said || !strings.Contains(line, "日本🙂") {
		t.Errorf("%v: got %+v of %s, want the same text", err, got, line)
	}
}

package config

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSecondsAcceptNumbersAndDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"10": 10 * time.Second, "10.0": 10 * time.Second, "0.25": 250 * time.Millisecond, "1m30s": 90 * time.Second,
		"0": 0, "300.0": 5 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		var got Seconds
		if err := got.UnmarshalText([]byte(text)); err != nil || got.Duration() != want {
			t.Errorf("%q: got %v, %v; want %v", text, got.Duration(), err, want)
		}
	}
}

func TestSecondsStringIsShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		10 * time.Second: "10s", 5 * time.Minute: "5m", 90 * time.Second: "1m30s", 2 * time.Hour: "2h", 0: "0s",
		100 * time.Minute: "1h40m", 250 * time.Millisecond: "250ms",
	} {
		if got := Seconds(d).String(); got != want {
			t.Errorf("%d ns: got %q, want %q", d, got, want)
		}
	}
}

func FuzzSecondsSurviveARoundTrip(f *testing.F) {
	for _, seed := range []string{"10.0", "1m30s", "-1", "1e400", "", "0x1p-2", "2h45m0.5s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second Seconds
		if first.UnmarshalText([]byte(text)) != nil {
			return
		}
		if first < 0 {
			t.Fatalf("%q was read as the negative %v", text, first.Duration())
		}
		if err := second.UnmarshalText([]byte(first.String())); err != nil || first != second {
			t.Fatalf("%q: written as %s, read again as %v (%v)", text, first, second, err)
		}
	})
}

func TestLogLevelsHaveTheirNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"} {
		var l LogLevel
		if err := l.UnmarshalText([]byte(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text, err := json.Marshal(l); err != nil || string(text) != `"`+name+`"` {
			t.Errorf("%s: written as %s, %v", name, text, err)
		}
	}
	if got := int(LevelCritical.Level()); got != 12 {
		t.Errorf("CRITICAL: got slog level %d, want 12", got)
	}
}

package session_test

import (
	"testing"

	"berth/internal/session"
)

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]session.Bytes{
		"0": 0, "1": 1, "512m": 512 << 20, "4g": 4 << 30, "4G": 4 << 30, "4gb": 4 << 30, "4GiB": 4 << 30, "1.5k": 1536, " 2t ": 2 << 40, "7b": 7,
	} {
		if got, err := session.ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "g", "-1", "-1g", "4x", "NaN", "inf", "9e30", "9000000t", "1g1", "0x10g"} {
		if got, err := session.ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d; want an error", text, got)
		}
	}
}

func FuzzBytesRoundTrip(f *testing.F) {
	f.Add(int64(4 << 30))
	f.Add(int64(1234567))
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 || n > 1<<52 { // beyond, float64 is not exact
			return
		}
		text := session.Bytes(n).String()
		if back, err := session.ParseBytes(text); err != nil || int64(back) != n {
			t.Errorf("%d is written %q and read %d, %v", n, text, back, err)
		}
	})
}

package pin

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func encode(p Pin) string { return base64.StdEncoding.EncodeToString(p[:]) }

func TestParseListAcceptsEveryCommonForm(t *testing.T) {
	t.Parallel()
	want := Pin{1, 2, 3}
	digits := hex.EncodeToString(want[:])
	for _, form := range []string{want.String(), digits, strings.ToUpper(digits), "sha256:" + digits, "sha256/" + encode(want), encode(want), " " + digits + "\t"} {
		if got, err := Parse(form); err != nil || got != want {
			t.Errorf("pin %q: got %v, %v", form, got, err)
		}
	}
}

func TestPinWithLeadingSlashes(t *testing.T) {
	t.Parallel()
	for first := range byte(255) {
		want := Pin{first, 255, 255}
		if first > 250 {
			want = Pin{255, 255, 255} // "////" in base64
		}
		for _, prefix := range []string{"", "sha256/", "sha256//", "sha256:"} {
			if got, err := Parse(prefix + encode(want)); err != nil || got != want {
				t.Errorf("pin %q: got %x, %v", prefix+encode(want), got, err)
			}
		}
	}
}

func TestPinThatStartsLikeItsPrefix(t *testing.T) {
	t.Parallel()
	text := "sha256" + strings.Repeat("A", 37) + "="
	if got, err := Parse(text); err != nil || encode(got) != text {
		t.Errorf("got %s, %v; want %s", encode(got), err, text)
	}
}

func TestInvalidPinIsRefused(t *testing.T) {
	t.Parallel()
	good := encode(Pin{1})
	for _, text := range []string{"AAAA", "sha256//AAAA", good + ",", "," + good, ",", good + " " + good, good[:20] + "\n" + good[20:], "sha512//" + good, strings.Repeat("0", 62)} {
		if pins, err := ParseList(text); err == nil {
			t.Errorf("%q was read as %v", text, pins)
		}
	}
}

// FuzzParseList: what is accepted prints itself as the same pins.
func FuzzParseList(f *testing.F) {
	f.Add("")
	f.Add("sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Add(" AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ,sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=")
	f.Add("sha256//AAAA,")
	f.Add(strings.Repeat("0f", 32) + ",sha256:" + strings.Repeat("F0", 32))
	f.Fuzz(func(t *testing.T, text string) {
		pins, err := ParseList(text)
		if err != nil {
			if pins != nil {
				t.Error("pins beside an error")
			}
			return
		}
		if len(pins) == 0 && strings.TrimSpace(text) != "" {
			t.Errorf("%q gives no pin and no error", text)
		}
		var printed []string
		for _, p := range pins {
			printed = append(printed, p.String())
		}
		again, err := ParseList(strings.Join(printed, ","))
		if err != nil || len(again) != len(pins) {
			t.Errorf("%q printed as %v, which reads as %v, %v", text, printed, again, err)
		}
	})
}

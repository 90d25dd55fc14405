package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/httpapi"
	"berth/internal/session"
)

// metadataOf returns the text of a response's metadata.
func metadataOf(t *testing.T, body []byte) string {
	t.Helper()
	var s struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return string(s.Metadata)
}

func TestMetadataNumbersKeepPrecision(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	const given = `{"a":9007199254740993,"b":1.0,"c":12345678901234567890123,"d":-0.10,"e":[1.50,{"f":0.1}],"g":"1.0","h":null}`
	a := w.call(http.MethodPost, "/sessions", adminToken, `{"owner":"alice","metadata":`+given+`}`, "Idempotency-Key", "k")
	if a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	made := decode[httpapi.NewSession](t, a)
	shown := w.call(http.MethodGet, "/sessions/"+string(made.ID), adminToken, "")
	// The command line decodes and encodes a response in this way.
	again, err := json.Marshal(decode[httpapi.Session](t, shown))
	if err != nil {
		t.Fatal(err)
	}
	for where, body := range map[string][]byte{"create": a.body, "show": shown.body, "command line": again} {
		if diff := cmp.Diff(given, metadataOf(t, body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
	other := strings.Replace(given, "993", "992", 1) // the same as a float64
	if a := w.call(http.MethodPost, "/sessions", adminToken, `{"owner":"alice","metadata":`+other+`}`, "Idempotency-Key", "k"); a.status != 422 {
		t.Errorf("the same key with another number: got %d %s, want 422", a.status, a.body)
	}
}

func TestMetadataNumbersAreStoredInPlainNotation(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for given, want := range map[string]string{
		"1e2": "100", "1E+2": "100", "-1.5e3": "-1500", "15e-1": "1.5", "0.05e1": "0.5", "1.50e1": "15.0", "5e-1": "0.5", "12.5e-3": "0.0125",
		"0e5": "0", "0e-2": "0.00", "-0": "0", "-0.0": "0.0", "-5e-2": "-0.05", "1e400": "1" + strings.Repeat("0", 400), "-1e-400": "-0." + strings.Repeat("0", 399) + "1",
	} {
		body := `{"owner":"alice","metadata":{"n":` + given + `}}`
		a := w.call(http.MethodPost, "/sessions", adminToken, body, "Idempotency-Key", given)
		if got := metadataOf(t, a.body); a.status != http.StatusCreated || got != `{"n":`+want+`}` {
			t.Errorf("%s: got %d %s, want 201 and %s", given, a.status, got, want)
		}
		if a := w.call(http.MethodPost, "/sessions", adminToken, body, "Idempotency-Key", given); a.status != http.StatusOK {
			t.Errorf("%s: the same request again: got %d %s, want 200", given, a.status, a.body)
		}
		if a := w.call(http.MethodDelete, "/sessions/"+string(decode[httpapi.Session](t, a).ID), adminToken, ""); a.status != http.StatusNoContent {
			t.Fatalf("delete: got %d %s", a.status, a.body)
		}
	}
}

func TestMetadataThatStoresCannotHoldIsRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for name, metadata := range map[string]string{
		"U+0000 in text":                  `{"a":"x\u0000y"}`,
		"U+0000 in a name":                `{"x\u0000y":1}`,
		"U+0000 deep inside":              `{"a":[{"b":["\u0000"]}]}`,
		"an exponent without end":         `{"a":1e999999999}`,
		"an exponent beyond any integer":  `{"a":-1e-99999999999999999999}`,
		"a number of too many digits":     `{"a":0.` + strings.Repeat("1", 17_000) + `}`,
		"small numbers that become large": `{"a":[` + strings.Repeat("1e999,", 1000) + `1]}`,
	} {
		a := w.call(http.MethodPost, "/sessions", adminToken, `{"metadata":`+metadata+`}`)
		if a.status != http.StatusUnprocessableEntity || a.problem(t).Code != session.CodeInvalid {
			t.Errorf("%s: got %d %s, want 422 %s", name, a.status, a.body, session.CodeInvalid)
		}
	}
	if page, err := w.List(t.Context(), session.Query{}); err != nil || len(page.Sessions) != 0 {
		t.Errorf("refused requests left %d sessions, %v", len(page.Sessions), err)
	}
}

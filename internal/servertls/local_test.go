package servertls

import (
	"bytes"
	"errors"
	"testing"

	"berth/internal/tlstest"
)

func TestLocalClientTrustsThePublishedCertificatesOnly(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	var log bytes.Buffer
	own := open(t, &log, nil, filesOf(t, a, "berth.example"), filesOf(t, a, "*.sessions.example"))
	same := open(t, &log, nil, filesOf(t, a, "berth.example")) // the same name, from the same authority
	client, err := TrustOnly(Encode(own.Leaves()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "localhost", "ses-1.sessions.example"} {
		client := client.Clone()
		client.ServerName = name
		if _, err := shake(t, own.TLS(), client); err != nil {
			t.Errorf("own server as %q: %v", name, err)
		}
		if _, err := shake(t, same.TLS(), client); !errors.Is(err, errOther) {
			t.Errorf("another server as %q: got %v, want %v", name, err, errOther)
		}
	}
	if _, err := TrustOnly(nil); err == nil {
		t.Error("no certificate: a client that trusts any server, or none")
	}
}

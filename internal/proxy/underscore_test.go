package proxy

import (
	"net/http"
	"testing"
)

// A server that makes variables of headers cannot tell these from the ones with hyphens.
func TestForwardingHeadersWithUnderscoresAreNotPassedOn(t *testing.T) {
	t.Parallel()
	h := http.Header{"X_forwarded_for": {"6.6.6.6"}, "X_Forwarded-Proto": {"https"}, "X_real_ip": {"6.6.6.6"}, "X_berth_session": {"x"}, "My_header": {"kept"}}
	tidyRequest(h)
	if len(h) != 1 || h.Get("My_header") != "kept" {
		t.Errorf("got %v, want My_header only", h)
	}
}

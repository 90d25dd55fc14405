package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/atomicfile"
	"berth/internal/server"
)

// AddressOf returns the URL at which the Berth that keeps its state there is reached from this machine; "" when none
// serves or the file may not be read. A Berth that was killed leaves its last address behind.
func AddressOf(stateDir string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, addressFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// publishAddress writes down where this process serves, for the command line on this machine. A disk that is full must
// not keep Berth from serving, so a failure is only logged.
func (a *App) publishAddress(ctx context.Context, s state) {
	url := server.LocalURL(a.server.Addr())
	if url == "" { // not a TCP socket: nothing that the command line could call
		return
	}
	path := s.path(addressFile)
	if err := atomicfile.Write(path, []byte(url+"\n"), ownerOnly, string(s)); err != nil {
		a.log.WarnContext(ctx, "address not written, the command line needs --url", "path", path, "error", err)
		return
	}
	a.onStop("address", func(context.Context) error { return atomicfile.Remove(path) })
}

package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/session"
)

// remote says which Berth a command talks to. What no flag and no variable names is looked for beside this program, where
// "make run" keeps its state, and then where the settings of this machine say. The current directory is never asked:
// a file there could send the operator's token to somebody else's server.
type remote struct {
	URL       string `name:"url" env:"BERTH_URL" placeholder:"URL" help:"Address of Berth. Default: that of the Berth beside this program or of this machine, http://127.0.0.1:8080 if none is found."`
	TokenFile string `env:"BERTH_ADMIN_TOKEN_FILE" type:"path" placeholder:"FILE" help:"File with the admin token. Default: admin-token in the state directory of that Berth."`
}

// defaultURL is where Berth serves unless it was told otherwise.
const defaultURL = "http://127.0.0.1:8080"

// client finds the Berth that is meant and the token that opens it.
func (r remote) client(std *stdio) (*client, error) {
	// Faults of settings that matter to the server only are none of the client's business.
	cfg, _ := config.Load(config.Options{SystemFile: systemConfig, Environ: std.Environ})
	token, stateDir, listen := cfg.Server.AdminToken, cfg.Server.StateDir, localAddress(cfg.Server.Listen)
	if beside := stateBesideProgram(); beside != "" && std.Getenv("BERTH_STATE_DIR") == "" {
		// The token and the address in the machine's settings are those of another Berth.
		token, stateDir, listen = session.Secret(std.Getenv("BERTH_ADMIN_TOKEN")), beside, ""
	}
	address := cmp.Or(r.URL, app.AddressOf(stateDir), listen, defaultURL)
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, usageError(fmt.Errorf("%q is not an address like %s", address, defaultURL))
	}
	if r.TokenFile != "" || token == "" {
		file := cmp.Or(r.TokenFile, app.AdminTokenFile(stateDir))
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, withHint(fmt.Errorf("read the admin token: %w", err),
				"run this as the user that Berth runs as, name the file with --token-file or BERTH_ADMIN_TOKEN_FILE, or set BERTH_ADMIN_TOKEN")
		}
		token = session.Secret(strings.TrimSpace(string(text)))
	}
	return newClient(base, token), nil
}

// localAddress is the URL of a Berth that listens there, when the setting says enough; "" when it does not.
func localAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// stateBesideProgram is the state directory of a "make run" in the checkout that this program was built in; "" when
// there is none.
func stateBesideProgram() string {
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return ""
	}
	dir := filepath.Join(filepath.Dir(program), "..", ".berth", "state")
	if _, err := os.Stat(app.AdminTokenFile(dir)); err != nil {
		return ""
	}
	return dir
}

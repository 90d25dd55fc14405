package main

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/config"
	"berth/internal/servertls"
	"berth/internal/session"
	"berth/internal/storage"
)

// machineConfig is the configuration file of this machine, for the systemd unit and the command line.
const machineConfig = "/etc/berth/berth.yaml"

// systemConfig is the configuration file that is read where none is named: that of "make run" in the checkout that this
// program was built in, or this machine's. The current directory is never searched: a file there could send a command, and
// the operator's token with it, to another server.
func systemConfig() string {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err == nil {
		beside := filepath.Join(filepath.Dir(program), "..", ".berth", "berth.yaml")
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return machineConfig
}

// remote is the Berth that a command calls. The settings are the default of both flags.
type remote struct {
	URL       string `name:"url" env:"BERTH_URL" placeholder:"URL" help:"Address of Berth. Default: that of the Berth beside this program or of this machine, http://127.0.0.1:8080 if none is found."`
	TokenFile string `env:"BERTH_ADMIN_TOKEN_FILE" type:"path" placeholder:"FILE" help:"File with the admin token, or a platform token. Default: admin-token in the state directory of that Berth."`
}

// defaultURL is the address of a Berth with the default settings.
const defaultURL = "http://127.0.0.1:8080"

// ProvideClient finds the address of Berth and its admin token. The command line calls it for commands with a client as a
// parameter of Run.
func (r remote) ProvideClient(std *stdio) (*client, error) {
	// Faults of settings are reported by the server; the client needs a few of them only.
	cfg, _ := config.Load(config.Options{SystemFile: systemConfig(), Environ: std.Environ})
	own := cmp.Or(storage.AddressOf(cfg.Server.StateDir), localAddress(cfg.Server), defaultURL)
	base, err := parseAddress(cmp.Or(r.URL, own))
	if err != nil {
		return nil, err
	}
	c, err := r.withToken(std, cfg, base, own)
	if err == nil && base.Scheme == "https" && sameServer(base, own) {
		// This Berth has published its certificates, which are not for the address that is used here. Where they cannot be read, the
		// address is verified as any other.
		if trusted, err := servertls.TrustOnly(storage.CertificatesOf(cfg.Server.StateDir)); err == nil {
			c.http.Transport = &http.Transport{TLSClientConfig: trusted, ForceAttemptHTTP2: true}
		}
	}
	return c, err
}

// withToken returns the client of an address with the token for it; own is the address of this machine's Berth.
func (r remote) withToken(std *stdio, cfg config.Config, base *url.URL, own string) (*client, error) {
	switch {
	case r.TokenFile != "":
		return r.withTokenFile(base, r.TokenFile)
	case std.Getenv("BERTH_ADMIN_TOKEN") != "":
		return newClient(base, session.Secret(std.Getenv("BERTH_ADMIN_TOKEN")), "BERTH_ADMIN_TOKEN"), nil
	case std.Getenv("BERTH_STATE_DIR") == "" && !sameServer(base, own):
		// A token that was not named explicitly is sent to its own Berth only.
		return nil, usageError(withHint(fmt.Errorf("no token is named for %s, and that of the Berth at %s is not sent elsewhere", base.Redacted(), own),
			"name its file with --token-file or BERTH_ADMIN_TOKEN_FILE, or set BERTH_ADMIN_TOKEN"))
	case cfg.Server.AdminToken != "":
		return newClient(base, cfg.Server.AdminToken, "the settings"), nil
	}
	return r.withTokenFile(base, storage.AdminTokenFile(cfg.Server.StateDir))
}

func (r remote) withTokenFile(base *url.URL, file string) (*client, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, withHint(fmt.Errorf("read the admin token: %w", err),
			"run this as the user that Berth runs as, name the file with --token-file or BERTH_ADMIN_TOKEN_FILE, or set BERTH_ADMIN_TOKEN")
	}
	return newClient(base, session.Secret(strings.TrimSpace(string(text))), file), nil
}

func parseAddress(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, usageError(fmt.Errorf("%q is not an address like %s", address, defaultURL))
	}
	return base, nil
}

// sameServer reports whether an address is that of the Berth on this machine, perhaps written differently.
func sameServer(base *url.URL, own string) bool {
	known, err := url.Parse(own)
	return err == nil && base.Scheme == known.Scheme && base.Port() == known.Port() &&
		(base.Hostname() == known.Hostname() || isLoopback(base.Hostname()) && isLoopback(known.Hostname()))
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// localAddress is the URL of a Berth with these settings for clients on its machine; "" when its address has no fixed port.
func localAddress(s config.Server) string {
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil || port == "0" {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if s.TLS() {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

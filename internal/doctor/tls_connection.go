package doctor

import (
	"context"
	"errors"
	"path/filepath"

	"berth/internal/config"
	"berth/internal/doctor/connection"
	"berth/internal/pki"
)

// tlsConnection runs the connection test. It makes no container.
func tlsConnection(ctx context.Context, o *Options) []Finding {
	options := ConnectionOptions(o.Config)
	options.Now, options.LookupHost = o.Now, o.LookupHost
	report, err := connection.Run(ctx, options)
	switch {
	case errors.Is(err, connection.ErrNoTLS):
		return []Finding{fail("local-socket", "set DOCKER_HOST to the TLS port of the engine or of berth guard: tcp://host:2376",
			"%s is a local socket: an attacker who breaks into Berth has root access to this host", o.Config.Docker.Host)}
	case ctx.Err() != nil:
		return []Finding{skip("not-finished", "the connection test was not finished")}
	case err != nil:
		return []Finding{fail("setting-faulty", "correct DOCKER_HOST", "%v", err)}
	}
	var findings []Finding
	for _, s := range report.Steps {
		if s.Status == Fail || s.Status == Warn {
			findings = append(findings, Finding{Status: s.Status, Code: string(s.Code), Seen: s.Detail, Remedy: s.Remedy})
		}
	}
	if len(findings) > 0 {
		return findings
	}
	return []Finding{pass("connected", "%s answers over %s (API %s); the certificate that it has loaded is valid for %d more days; unauthenticated clients are refused",
		report.Host, report.TLSVersion, report.APIVersion, report.Server.DaysLeft)}
}

// ConnectionOptions returns the options for a test of the connection that berth serve makes with these settings.
func ConnectionOptions(cfg config.Config) connection.Options {
	d := cfg.Docker
	return connection.Options{
		Host: d.Host, CA: d.CACert, Cert: d.ClientCert, Key: d.ClientKey, CRL: filepath.Join(filepath.Dir(d.CACert), pki.CRLFile),
		ServerCert: filepath.Join(d.CertPath, pki.ServerCertFile), Pins: d.TLSPin, Unverified: !d.TLSVerify,
	}
}

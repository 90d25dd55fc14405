package doctor

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"

	"berth/internal/pki"
)

// maxFileSize is the limit for files of other programs.
const maxFileSize = 4 << 20

// eachCertificateFile calls judge with the certificates of the client, which berth serve needs, and the server's, which may be
// on another machine.
func (o *Options) eachCertificateFile(judge func(path string, certs []*x509.Certificate) []Finding) []Finding {
	d := o.Config.Docker
	server := filepath.Join(d.CertPath, pki.ServerCertFile)
	var all []Finding
	for _, path := range []string{d.CACert, d.ClientCert, server} {
		var findings []Finding
		switch certs, err := pki.ReadCertificates(path); {
		case err == nil:
			findings = judge(path, certs)
		case errors.Is(err, pki.ErrMissing) && path == server:
		case errors.Is(err, pki.ErrMissing):
			findings = []Finding{fail("certificate-missing", "make certificates (berth certs init), or set DOCKER_CERT_PATH to where they are",
				"there is no file %s", path)}
		default:
			findings = []Finding{fail("certificate-unreadable", "let this user read it, or replace it by a certificate in PEM", "%s: %v", path, pki.Reason(err))}
		}
		for _, f := range findings {
			all = append(all, f.at(path, 0))
		}
	}
	return all
}

// isKey reports whether a file is a key, by its name.
func isKey(path string) bool {
	name := filepath.Base(path)
	return name == pki.DockerKeyFile || strings.HasSuffix(name, "-"+pki.DockerKeyFile) || strings.HasSuffix(name, ".key")
}

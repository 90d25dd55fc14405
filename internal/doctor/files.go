package doctor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/pki"
)

// maxFileSize bounds what is read: certificates have a few kilobytes, compose files some more.
const maxFileSize = 4 << 20

// certificateFile is one that an installation has.
type certificateFile struct {
	path   string
	needed bool // by berth serve; others may stand on another machine
}

// certificateFiles are those of the client, and what else stands in the directory.
func (o *Options) certificateFiles() []certificateFile {
	d := o.Config.Docker
	return []certificateFile{
		{d.CACert, true}, {d.ClientCert, true}, {filepath.Join(d.CertPath, pki.ServerCertFile), false},
	}
}

// missing is what the failure to read a file means, if anything.
func (f certificateFile) missing(err error) (Finding, bool) {
	switch {
	case errors.Is(err, pki.ErrMissing) && !f.needed:
		return Finding{}, false
	case errors.Is(err, pki.ErrMissing):
		return fail("certificate-missing", "make certificates (berth certs init), or set DOCKER_CERT_PATH to where they are",
			"there is no file %s", f.path).at(f.path, 0), true
	}
	if fault, ok := errors.AsType[*pki.FileError](err); ok {
		err = fault.Err // without advice that is for those who make certificates
	}
	return fail("certificate-unreadable", "let this user read it, or replace it by a certificate in PEM", "%s: %v", f.path, err).at(f.path, 0), true
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileSize)
	}
	return data, err
}

// isKey tells keys from certificates by their names, as all tools do.
func isKey(path string) bool {
	name := filepath.Base(path)
	return name == pki.DockerKeyFile || strings.HasSuffix(name, "-"+pki.DockerKeyFile) || strings.HasSuffix(name, ".key")
}

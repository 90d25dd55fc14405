package pki

import (
	"archive/tar"
	"crypto/x509"
	"fmt"
	"io"
	"time"

	"berth/internal/fileset"
)

// bundleFile is a file that a client machine needs.
type bundleFile struct {
	name string
	data []byte
}

// bundle reads the files for a client machine and checks them: the key matches the certificate, which is for clients, valid
// now and not revoked.
func bundle(dir string, now time.Time) ([]bundleFile, error) {
	paths := ClientPaths(dir, Paths{})
	l := load(paths, x509.ExtKeyUsageClientAuth, now, files{})
	if l.setErr != nil {
		return nil, l.setErr
	}
	if err := checkChain(l.pair, l.authorities.usable, x509.ExtKeyUsageClientAuth, now); err != nil {
		return nil, &FileError{Path: paths.Cert, Err: err, Advice: adviceForce}
	}
	if l.listErr != nil {
		return nil, l.listErr
	}
	if err := l.admits([]*x509.Certificate{l.pair.Leaf}, x509.ExtKeyUsageClientAuth, now); err != nil {
		return nil, &FileError{Path: paths.Cert, Err: err, Advice: adviceRenew}
	}
	if l.incomplete != nil {
		return nil, l.incomplete
	}
	var all []bundleFile
	parts := []struct{ name, path string }{{CACertFile, paths.CA}, {ClientCertFile, paths.Cert}, {ClientKeyFile, paths.Key}}
	if crl := crlPath(paths.CA); fileset.Exists(crl) {
		parts = append(parts, struct{ name, path string }{CRLFile, crl})
	}
	for _, part := range parts {
		data, err := ReadFile(part.path)
		if err != nil {
			return nil, err
		}
		all = append(all, bundleFile{part.name, data})
	}
	return all, nil
}

// BundleDir writes ca.pem, client-cert.pem, client-key.pem and, if there is one, crl.pem of dir into the directory out, in one
// step. Existing files are replaced only with force. The authority's key is never copied.
func BundleDir(dir, out string, force bool, now time.Time) ([]string, error) {
	files, err := bundle(dir, now)
	if err != nil {
		return nil, err
	}
	var written []string
	err = editOut(out, func() time.Time { return now }, nil, func(d *directory) error {
		for _, f := range files {
			if err := d.vacant(force, f.name); err != nil {
				return err
			}
			d.put(f.name, f.data)
			written = append(written, d.file(f.name))
		}
		return d.commit()
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// BundleTar writes the same files as a tar archive, with their modes. The archive is as secret as the key in it.
func BundleTar(dir string, w io.Writer, now time.Time) ([]string, error) {
	files, err := bundle(dir, now)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(w)
	var written []string
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: int64(fileMode(f.name)), Size: int64(len(f.data)), ModTime: now.UTC().Truncate(time.Second),
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("write bundle: %w", err)
		}
		if _, err := archive.Write(f.data); err != nil {
			return nil, fmt.Errorf("write bundle: %w", err)
		}
		written = append(written, f.name)
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return written, nil
}

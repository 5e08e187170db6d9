package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Files name what one port's certificates are read from, all of them PEM.
type Files struct {
	// Flags is how the flags begin that name the files, such as "--client": errors speak of --client-cert-file.
	Flags string
	// Cert holds the certificate, then those between it and its authority; Key its private key. Both or neither.
	Cert, Key string
	// CA holds the certificates of the authorities of clients. Without it clients need no certificate.
	CA string
}

// Given reports whether the port is to speak TLS.
func (f Files) Given() bool { return f.Cert != "" }

// Validate refuses half a pair, and a bundle without a pair. It looks at no file.
func (f Files) Validate() error {
	switch {
	case f.Cert != "" && f.Key == "":
		return fmt.Errorf("%s-cert-file is given without %s-key-file: name the file of its private key as well", f.Flags, f.Flags)
	case f.Cert == "" && f.Key != "":
		return fmt.Errorf("%s-key-file is given without %s-cert-file: name the file of the certificate as well", f.Flags, f.Flags)
	case f.Cert == "" && f.CA != "":
		return fmt.Errorf("%s-ca-file is given without %s-cert-file and %s-key-file: a port that asks for certificates needs one itself", f.Flags, f.Flags, f.Flags)
	}
	return nil
}

// maxFile bounds a file, in bytes: several times the largest bundle of authorities that is in use.
const maxFile = 1 << 20

// read reads a file of at most maxFile bytes. What is not a regular file is not opened: it could hold up a handshake.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return data, nil
}

// reading is what was found on disk at one moment.
type reading struct {
	contents [][]byte
	err      error
	print    [sha256.Size]byte // of contents, or of the error
}

// named is a file and the flag that names it.
type named struct{ flag, path string }

func (n named) String() string { return n.flag + " " + n.path }

func readAll(files []named) (r reading) {
	sum := sha256.New()
	for _, f := range files {
		data, err := read(f.path)
		if err != nil {
			r.err = fmt.Errorf("%v: %w: name a PEM file that this process may read", f, err)
			r.print = sha256.Sum256([]byte(r.err.Error()))
			return r
		}
		// The length first, so that bytes that move from one file to the next are a change.
		sum.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(data))))
		sum.Write(data)
		r.contents = append(r.contents, data)
	}
	sum.Sum(r.print[:0])
	return r
}

// certificates reads every certificate of a PEM file. One that is cut short at the end is an error: a file that is
// being written looks like that.
func certificates(data []byte) (all []*x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in it: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, errors.New("it is cut short or garbled")
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return all, nil
}

// parsePair makes a certificate of the contents of both files.
func (f Files) parsePair(contents [][]byte) (*tls.Certificate, error) {
	cert, key := f.pair()[0], f.pair()[1]
	chain, err := certificates(contents[0])
	if err != nil {
		return nil, fmt.Errorf("%v: %w: give a PEM certificate, followed by those between it and its authority", cert, err)
	}
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("%v: %w: give the PEM private key that belongs to %v", key, err, cert)
	}
	pair.Leaf = chain[0]
	return &pair, nil
}

// parseBundle makes a pool of the authorities in the file.
func (f Files) parseBundle(contents [][]byte) (*x509.CertPool, error) {
	all, err := certificates(contents[0])
	if err != nil {
		return nil, fmt.Errorf("%v: %w: give the PEM certificates of the authorities whose clients are let in", f.bundle()[0], err)
	}
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	return pool, nil
}

func (f Files) pair() []named {
	return []named{{f.Flags + "-cert-file", f.Cert}, {f.Flags + "-key-file", f.Key}}
}

func (f Files) bundle() []named { return []named{{f.Flags + "-ca-file", f.CA}} }

// warnings are what a person should know of a pair that is taken all the same.
func (f Files) warnings(pair *tls.Certificate, clients *x509.CertPool, now time.Time) (all []string) {
	leaf, file := pair.Leaf, f.pair()[0]
	switch {
	case now.After(leaf.NotAfter):
		all = append(all, fmt.Sprintf("%v: the certificate has expired at %s: clients will refuse it until it is renewed", file, stamp(leaf.NotAfter)))
	case now.Before(leaf.NotBefore):
		all = append(all, fmt.Sprintf("%v: the certificate is not valid before %s: clients will refuse it until then; look at this machine's clock", file, stamp(leaf.NotBefore)))
	case clients != nil:
		// Only while its time is right: else this would fail for that reason.
		if err := verify(leaf, intermediates(pair), clients, "", now, x509.ExtKeyUsageClientAuth); err != nil {
			all = append(all, fmt.Sprintf("%v: the certificate is none that %v lets in (%v): another member will refuse what this one sends on to it; use a certificate of that authority that allows client authentication too", file, f.bundle()[0], err))
		}
	}
	return all
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func intermediates(pair *tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(c)
		}
	}
	return pool
}

// verify holds a certificate to the roots (nil: the system's), a host (empty: any) and a usage.
func verify(leaf *x509.Certificate, between, roots *x509.CertPool, host string, now time.Time, usage x509.ExtKeyUsage) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

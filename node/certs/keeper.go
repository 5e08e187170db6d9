package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// every is how long a look at the files is good for.
const every = time.Second

// Event is what happened to certificates on disk while they were in use: Err says why something new cannot be used, so
// that the older stays in force; nil that something new was taken into use, until Expires, with Warnings about it.
type Event struct {
	Err      error
	Expires  time.Time // of the certificate in force
	Warnings []string
}

// String is the event for a person.
func (e Event) String() string {
	if e.Err != nil {
		return fmt.Sprintf("new certificates cannot be used, the older stay in force: %v", e.Err)
	}
	return "new certificates are in use, until " + stamp(e.Expires)
}

// Keeper holds what the files held when it could last be used. Safe for concurrent use.
type Keeper struct {
	files  Files
	now    func() time.Time
	report func(Event)

	look    sync.Mutex // held by the one handshake that looks at the files; others do not wait for it
	looked  time.Time  // guarded by look
	pair    followed[tls.Certificate]
	clients followed[x509.CertPool] // holds nil where no bundle was given
}

// followed is something made of files that change. Its fields but current are guarded by Keeper.look.
type followed[T any] struct {
	files   []named
	parse   func(contents [][]byte) (*T, error)
	judged  [sha256.Size]byte // the reading that was taken or reported last
	current atomic.Pointer[T]
}

// Load reads the files for the first time. Its warnings are for a person; its error names the flag, the file and the
// remedy. The callback is told later of every change, once, from within a handshake: it must not block.
func Load(files Files, now func() time.Time, report func(Event)) (*Keeper, []string, error) {
	if err := files.Validate(); err != nil {
		return nil, nil, err
	}
	if !files.Given() {
		return nil, nil, fmt.Errorf("%s-cert-file is missing: name the file of the certificate", files.Flags)
	}
	k := &Keeper{files: files, now: now, report: report, looked: now()}
	k.pair.files, k.pair.parse = files.pair(), files.parsePair
	errs := []error{k.pair.first()}
	if files.CA != "" {
		k.clients.files, k.clients.parse = files.bundle(), files.parseBundle
		errs = append(errs, k.clients.first())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return k, files.warnings(k.pair.current.Load(), k.clients.current.Load(), now()), nil
}

// Expires is when the certificate in force does.
func (k *Keeper) Expires() time.Time { return k.pair.current.Load().Leaf.NotAfter }

func (f *followed[T]) first() error {
	r := readAll(f.files)
	if r.err != nil {
		return r.err
	}
	v, err := f.parse(r.contents)
	if err != nil {
		return err
	}
	f.judged = r.print
	f.current.Store(v)
	return nil
}

// follow looks once more; changed says that there is news, which err may be.
func (f *followed[T]) follow() (changed bool, err error) {
	if len(f.files) == 0 {
		return false, nil
	}
	r := readAll(f.files)
	if r.print == f.judged {
		return false, nil
	}
	if again := readAll(f.files); again.print != r.print {
		return false, nil // in the midst of a change: the next look sees it
	}
	f.judged = r.print
	if r.err != nil {
		return true, r.err
	}
	v, err := f.parse(r.contents)
	if err != nil {
		return true, err
	}
	f.current.Store(v)
	return true, nil
}

// refresh looks at the files if the last look is old enough and nobody else is looking.
func (k *Keeper) refresh() {
	if !k.look.TryLock() {
		return
	}
	defer k.look.Unlock()
	now := k.now()
	// A clock that was put back must not stop the looks.
	if age := now.Sub(k.looked); age >= 0 && age < every {
		return
	}
	k.looked = now
	newPair, pairErr := k.pair.follow()
	newClients, clientsErr := k.clients.follow()
	for _, err := range []error{pairErr, clientsErr} {
		if err != nil {
			k.report(Event{Err: err, Expires: k.Expires()})
		}
	}
	if newPair && pairErr == nil || newClients && clientsErr == nil {
		k.report(Event{Expires: k.Expires(), Warnings: k.files.warnings(k.pair.current.Load(), k.clients.current.Load(), now)})
	}
}

// Server is the configuration of the listening side: TLS 1.2 or later, HTTP/2. With a bundle, clients must present a
// certificate of one of its authorities.
func (k *Keeper) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			k.refresh()
			c := &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Time: k.now, SessionTicketsDisabled: true,
				Certificates: []tls.Certificate{*k.pair.current.Load()},
			}
			if pool := k.clients.current.Load(); pool != nil {
				c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
			}
			return c, nil
		},
	}
}

// Client is the configuration of a member that connects to another one's client port at that host, a name or an
// address; the package's doc says whom it trusts.
func (k *Keeper) Client(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Time: k.now, ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			k.refresh()
			return k.pair.current.Load(), nil
		},
		// The library's own verification knows one set of roots and would not know the member's own certificate.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return k.trust(host, s.PeerCertificates) },
	}
}

// trust is the verification of a leader. The host is not taken from the connection's state, which has none for an
// address.
func (k *Keeper) trust(host string, presented []*x509.Certificate) error {
	k.refresh()
	if len(presented) == 0 || host == "" {
		return errors.New("the leader presents no certificate, or its URL has no host")
	}
	leaf := presented[0]
	if leaf.Equal(k.pair.current.Load().Leaf) {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range presented[1:] {
		between.AddCert(c)
	}
	var errs []error
	if pool := k.clients.current.Load(); pool != nil {
		err := verify(leaf, between, pool, host, k.now(), x509.ExtKeyUsageServerAuth)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%v: %w", k.files.bundle()[0], err))
	}
	if err := verify(leaf, between, nil, host, k.now(), x509.ExtKeyUsageServerAuth); err != nil {
		errs = append(errs, fmt.Errorf("the system's authorities: %w", err))
		return fmt.Errorf("the leader's certificate is not trusted: %w", errors.Join(errs...))
	}
	return nil
}

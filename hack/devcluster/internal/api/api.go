// Package api is the little of a Kubernetes client that a dev cluster needs for itself: read a JSON object,
// apply one, delete one.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// ErrNotFound marks the answer 404.
var ErrNotFound = errors.New("not found")

const (
	requestTimeout = 20 * time.Second
	maxAnswer      = 64 << 20
	maxMessage     = 2 << 10
)

// Client speaks to one API server with the files of an administrator.
type Client struct {
	server string
	http   *http.Client
}

// New makes a client for the server at a https URL, with certificate files.
func New(server, ca, cert, key string) (*Client, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	return &Client{server: server, http: &http.Client{Transport: transport, Timeout: requestTimeout}}, nil
}

// Get reads the object at path into out, which may be nil.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, "", nil, out)
}

// Apply makes the object at path be as the YAML document says, by server-side apply.
func (c *Client) Apply(ctx context.Context, path, yaml string) error {
	return c.do(ctx, http.MethodPatch, path+"?fieldManager=devcluster&force=true", "application/apply-patch+yaml", []byte(yaml), nil)
}

// Delete removes the object at path at once. One that is not there is no error.
func (c *Client) Delete(ctx context.Context, path string) error {
	err := c.do(ctx, http.MethodDelete, path+"?gracePeriodSeconds=0", "", nil, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (c *Client) do(ctx context.Context, method, path, kind string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		err := fmt.Errorf("%s %s: %s: %s", method, path, res.Status, message(data))
		if res.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return err
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// message is what the server says in a Status object, or the answer as it is.
func message(data []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(data, &status) == nil && status.Message != "" {
		return status.Message
	}
	return strings.TrimSpace(string(data[:min(len(data), maxMessage)]))
}

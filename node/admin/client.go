package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Client asks members through their admin endpoints. Each method takes the base URL of one member, such as
// http://10.0.0.7:2382. A refusal comes back as *Error; any other error means that the outcome is unknown.
type Client struct {
	// HTTP carries the requests; nil means http.DefaultClient. Deadlines come from the context.
	HTTP *http.Client
}

// Status asks a member how it is.
func (c Client) Status(ctx context.Context, base string, options StatusOptions) (Status, error) {
	query := url.Values{}
	if options.Hash {
		query.Set("hash", "1")
	}
	if options.Quorum {
		query.Set("quorum", "1")
	}
	path := "/v1/status"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var status Status
	err := c.do(ctx, http.MethodGet, base, path, nil, &status)
	return status, err
}

// Form asks the named founder to form a cluster of one.
func (c Client) Form(ctx context.Context, base string, request FormRequest) error {
	return c.do(ctx, http.MethodPost, base, "/v1/form", request, nil)
}

// Change asks the leader for one membership change.
func (c Client) Change(ctx context.Context, base string, request ChangeRequest) error {
	return c.do(ctx, http.MethodPost, base, "/v1/change", request, nil)
}

// Transfer asks the leader to hand over leadership.
func (c Client) Transfer(ctx context.Context, base string, request TransferRequest) error {
	return c.do(ctx, http.MethodPost, base, "/v1/transfer", request, nil)
}

// Open asks the leader to open the cluster to clients.
func (c Client) Open(ctx context.Context, base string, request OpenRequest) error {
	return c.do(ctx, http.MethodPost, base, "/v1/open", request, nil)
}

func (c Client) do(ctx context.Context, method, base, path string, request, into any) error {
	var body io.Reader
	if request != nil {
		text, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return fmt.Errorf("%s %s%s: %w", method, base, path, err)
	}
	if request != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	carrier := c.HTTP
	if carrier == nil {
		carrier = http.DefaultClient
	}
	response, err := carrier.Do(r)
	if err != nil {
		return err // names method and URL already
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil || len(text) > maxBody {
		return fmt.Errorf("%s %s%s: the answer was cut off or is over %d bytes: %w", method, base, path, maxBody, errors.Join(io.ErrUnexpectedEOF, err))
	}
	if response.StatusCode/100 != 2 {
		refusal := &Error{}
		if err := json.Unmarshal(text, refusal); err != nil || refusal.Reason == "" {
			return fmt.Errorf("%s %s%s: answered %s without a reason", method, base, path, response.Status)
		}
		return refusal
	}
	if into == nil {
		return nil
	}
	// Fields of a newer version are let pass: members and operator are not upgraded in the same moment.
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s %s%s: the answer cannot be read: %w", method, base, path, err)
	}
	return nil
}

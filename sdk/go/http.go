package weft

import "encoding/json"

// Request is a plain HTTP request. The module must have been granted the host
// and port of its URL.
type Request struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"` // absolute
	Headers map[string]string `json:"headers,omitempty"`
	Body    []byte            `json:"body,omitempty"`
}

// Response is the answer to a Request, whatever its status.
type Response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"` // lower-case names
	Body    []byte            `json:"body,omitempty"`
}

// HTTP sends a request to the outside, through the same gate as Call.
func (c *Context) HTTP(r Request) (Response, error) {
	var answer Response
	request, err := json.Marshal(r)
	if err != nil {
		return answer, Errorf(Internal, "request to %s: %v", r.URL, err)
	}
	v, err := c.host.http(request)
	if err != nil {
		return answer, describe(err, "request to ", r.URL)
	}
	if err := json.Unmarshal(v, &answer); err != nil {
		return answer, Errorf(Internal, "answer of %s: %v", r.URL, err)
	}
	return answer, nil
}

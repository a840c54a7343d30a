package machine

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

func (m *Machine) callHTTP(f *frame) move {
	r, err := m.request(f)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	m.issue(f, Command{Kind: CallHTTP, HTTP: r})
	return move{}
}

func (m *Machine) request(f *frame) (*HTTPRequest, error) {
	h := f.task.HTTP
	uri, err := m.uri(f, h)
	if err != nil {
		return nil, err
	}
	r := &HTTPRequest{Method: h.Method, URL: uri, Headers: map[string]string{}, NoRedirect: !h.Redirect}
	if r.Auth, err = m.credentials(f, h.Auth); err != nil {
		return nil, err
	}
	if h.OpenAPI != nil {
		r.OpenAPI, err = m.openAPI(f, h.OpenAPI)
		return r, err
	}
	if h.GRPC != nil {
		r.GRPC, err = m.grpc(f, h.GRPC)
		return r, err
	}
	if h.Headers != nil {
		headers, err := m.mapping(f, h.Headers, "headers")
		if err != nil {
			return nil, err
		}
		for name, v := range headers {
			if v != nil {
				r.Headers[strings.ToLower(name)] = text(v)
			}
		}
	}
	if h.Body == nil {
		return r, nil
	}
	v, err := h.Body.Eval(f.input, m, workflows.OutputMax)
	if err != nil {
		return nil, err
	}
	if r.Headers["content-type"] == "" {
		r.Headers["content-type"] = "application/json"
	}
	r.Body = workflows.EncodeContent(v, r.Headers["content-type"])
	return r, nil
}

func (m *Machine) credentials(f *frame, a *workflows.Auth) (*Credentials, error) {
	if a == nil {
		return nil, nil
	}
	c := &Credentials{Scheme: a.Scheme}
	var err error
	if a.OAuth != nil {
		c.Token, err = m.tokenRequest(f, a.OAuth)
		return c, err
	}
	for _, field := range []credential{{a.User, &c.User}, {a.Password, &c.Secret}, {a.Token, &c.Secret}} {
		if err := m.credential(f, field); err != nil {
			return nil, err
		}
	}
	if a.Scheme == workflows.AuthBasic && strings.Contains(c.User, ":") {
		return nil, errors.New("authentication.basic: a username with a colon cannot be sent")
	}
	if strings.ContainsAny(c.User+c.Secret, "\r\n\x00") {
		return nil, errors.New("authentication: a name, password or token has a line break in it")
	}
	return c, nil
}

func (m *Machine) openAPI(f *frame, o *workflows.OpenAPI) (*OpenAPICall, error) {
	c := &OpenAPICall{Operation: o.Operation}
	var err error
	if o.Parameters != nil {
		if c.Parameters, err = m.mapping(f, o.Parameters, "parameters"); err != nil {
			return nil, err
		}
	}
	c.Auth, err = m.credentials(f, o.Auth)
	return c, err
}

func (m *Machine) grpc(f *frame, g *workflows.GRPC) (*GRPCCall, error) {
	arguments, err := any(map[string]any{}), error(nil)
	if g.Arguments != nil {
		if arguments, err = g.Arguments.Eval(f.input, m, workflows.OutputMax); err != nil {
			return nil, err
		}
	}
	c := grpcCall(g, workflows.AppendJSON(nil, arguments))
	c.Auth, err = m.credentials(f, g.Auth)
	return c, err
}

func grpcCall(g *workflows.GRPC, arguments []byte) *GRPCCall {
	return &GRPCCall{Address: g.Address, Service: g.Service, Method: g.Method, Arguments: arguments}
}

func (m *Machine) uri(f *frame, h *workflows.HTTP) (string, error) {
	uri, err := m.endpoint(f, h.Endpoint)
	if err != nil || h.Query == nil {
		return uri, err
	}
	query, err := m.mapping(f, h.Query, "query")
	if err != nil {
		return "", err
	}
	values := url.Values{}
	for name, v := range query {
		switch v := v.(type) {
		case nil:
		case []any:
			for _, e := range v {
				values.Add(name, text(e))
			}
		default:
			values.Add(name, text(v))
		}
	}
	if len(values) == 0 {
		return uri, nil
	}
	uri, fragment, cut := strings.Cut(uri, "#")
	mark := "?"
	if strings.Contains(uri, "?") {
		mark = "&"
	}
	uri += mark + values.Encode()
	if cut {
		uri += "#" + fragment
	}
	return uri, nil
}

func (m *Machine) endpoint(f *frame, e workflows.Endpoint) (string, error) {
	if e.Expr() != nil {
		v, err := e.Expr().Eval(f.input, m)
		if err != nil {
			return "", err
		}
		s, _ := v.(string)
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return "", fmt.Errorf("endpoint gives no URI that starts with http:// or https:// but %s", clipped(string(workflows.AppendJSON(nil, v))))
		}
		return s, nil
	}
	parts := e.Parts()
	var b strings.Builder
	b.WriteString(parts[0])
	input, _ := f.input.(map[string]any)
	for i := 1; i < len(parts); i += 2 {
		switch v := input[parts[i]].(type) {
		case []any, map[string]any:
			return "", fmt.Errorf("endpoint: {%s} is a list or a mapping in the input", parts[i])
		default:
			b.WriteString(strings.ReplaceAll(url.QueryEscape(text(v)), "+", "%20"))
		}
		b.WriteString(parts[i+1])
	}
	return b.String(), nil
}

func (m *Machine) mapping(f *frame, t *workflows.Template, what string) (map[string]any, error) {
	v, err := t.Eval(f.input, m, workflows.OutputMax)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, nil
	}
	mapping, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s gives no mapping but %s", what, clipped(string(workflows.AppendJSON(nil, v))))
	}
	return mapping, nil
}

// EncodeHTTP is the Data of the entry Finished that answers a CallHTTP.
func EncodeHTTP(r weft.Response) []byte {
	dst := binary.AppendUvarint(make([]byte, 0, len(r.Body)+256), uint64(r.Status))
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		dst = appendBytes(appendBytes(dst, name), r.Headers[name])
	}
	return append(dst, r.Body...)
}

// EncodeOperation is the Data of the entry Finished that answers a CallHTTP
// with an OpenAPI: which request was made of it, and the answer.
func EncodeOperation(q *HTTPRequest, r weft.Response) []byte {
	dst := appendBytes(appendBytes(nil, q.Method), q.URL)
	dst = binary.AppendUvarint(dst, uint64(len(q.Headers)))
	for _, name := range slices.Sorted(maps.Keys(q.Headers)) {
		dst = appendBytes(appendBytes(dst, name), q.Headers[name])
	}
	return append(dst, EncodeHTTP(r)...)
}

func decodeOperation(src []byte) (*HTTPRequest, []byte, error) {
	d := decoder{src: src}
	q := &HTTPRequest{Method: d.string(), URL: d.string(), Headers: map[string]string{}}
	for range min(d.uvarint(), uint64(len(src))) {
		name := d.string()
		q.Headers[name] = d.string()
	}
	if d.bad {
		return nil, nil, errors.New("the recorded OpenAPI call is damaged")
	}
	return q, d.src, nil
}

func decodeHTTP(src []byte) (weft.Response, error) {
	d := decoder{src: src}
	r := weft.Response{Status: int(d.uint32()), Headers: map[string]string{}}
	for range min(d.uvarint(), uint64(len(src))) {
		name := d.string()
		r.Headers[strings.ToLower(name)] = d.string()
	}
	if d.bad {
		return r, errors.New("the recorded HTTP response is damaged")
	}
	r.Body = d.src
	return r, nil
}

// result is the raw output that an answer gives to a call, or why it is none.
func result(t *workflows.Task, c *Command, data []byte) (any, *Fault) {
	if len(data) > workflows.OutputMax {
		return nil, runtimeFault(fmt.Sprintf("the answer has %d bytes, more than %d", len(data), workflows.OutputMax))
	}
	if t.Kind == workflows.KindHTTP && t.HTTP.GRPC == nil {
		return httpResult(t.HTTP, c.HTTP, data)
	}
	if t.Kind == workflows.KindScript {
		return scriptResult(t.Script, data)
	}
	v, err := workflows.DecodeJSON(data)
	if err != nil {
		return nil, runtimeFault("the handler's output is " + err.Error())
	}
	return v, nil
}

func runtimeFault(detail string) *Fault {
	return &Fault{Type: workflows.RuntimeError, Status: 500, Title: "Runtime error", Detail: clipped(detail)}
}

func httpResult(h *workflows.HTTP, q *HTTPRequest, data []byte) (any, *Fault) {
	var err error
	if h.OpenAPI != nil {
		if q, data, err = decodeOperation(data); err != nil {
			return nil, runtimeFault(err.Error())
		}
	}
	r, err := decodeHTTP(data)
	if err != nil {
		return nil, runtimeFault(err.Error())
	}
	most := 299
	if h.Redirect {
		most = 399
	}
	if r.Status < 200 || r.Status > most {
		return nil, &Fault{
			Type: workflows.CommunicationError, Status: r.Status, Title: statusTitle(r.Status),
			Detail: clipped(fmt.Sprintf("%s %s answered %d: %s", q.Method, q.URL, r.Status, strings.ToValidUTF8(string(r.Body), "\ufffd"))),
		}
	}
	if h.Output == workflows.OutputRaw {
		return base64.StdEncoding.EncodeToString(r.Body), nil
	}
	content, err := httpContent(r)
	if err != nil {
		return nil, &Fault{Type: workflows.CommunicationError, Status: 502, Title: "Invalid response", Detail: clipped(err.Error())}
	}
	if h.Output == workflows.OutputContent {
		return content, nil
	}
	request := map[string]any{"method": strings.ToLower(q.Method), "uri": q.URL, "headers": headerValue(q.Headers)}
	return map[string]any{"request": request, "statusCode": r.Status, "headers": headerValue(r.Headers), "content": content}, nil
}

// httpContent is the body by its content type; without one it is text.
func httpContent(r weft.Response) (any, error) {
	contentType := r.Headers["content-type"]
	if contentType == "" {
		contentType = "text/plain"
	}
	if len(r.Body) == 0 {
		return nil, nil
	}
	return workflows.DecodeContent(r.Body, contentType)
}

func headerValue(headers map[string]string) map[string]any {
	v := make(map[string]any, len(headers))
	for name, s := range headers {
		v[name] = s
	}
	return v
}

var statusTitles = map[int]string{
	400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed",
	408: "Request timeout", 409: "Conflict", 410: "Gone", 412: "Precondition failed", 413: "Content too large",
	415: "Unsupported media type", 422: "Unprocessable content", 429: "Too many requests",
	500: "Internal server error", 501: "Not implemented", 502: "Bad gateway", 503: "Service unavailable", 504: "Gateway timeout",
}

func statusTitle(status int) string {
	if t, ok := statusTitles[status]; ok {
		return t
	}
	return fmt.Sprintf("HTTP status %d", status)
}

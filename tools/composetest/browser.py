"""The user's browser on this machine: cookies, redirects, refreshes and forms, at Envoy's
published port whatever the name in the URL is."""

import html.parser
import http.client
import http.cookies
import re
import urllib.parse

from composetest.told import Failed

ADDRESS = ("127.0.0.1", 8080)  # where *.localhost leads, for browsers
MAX_BYTES, MAX_HOPS = 1 << 20, 12


class Page(html.parser.HTMLParser):
    """One page: its text, its only form, and where it goes on to."""

    def __init__(self, url, status, text):
        super().__init__()
        self.url, self.status, self.html = url, status, text
        self.action, self.fields, self.buttons, self.refresh = None, [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        if tag == "form":
            self.action = urllib.parse.urljoin(self.url, of.get("action") or self.url)
        elif tag == "input" and (of.get("type") != "checkbox" or "checked" in of):
            self.fields.append((of.get("name", ""), of.get("value") or ""))
        elif tag == "button" and of.get("name"):
            self.buttons.append((of["name"], of.get("value", "")))
        elif tag == "meta" and of.get("http-equiv", "").lower() == "refresh":
            self.refresh = urllib.parse.urljoin(self.url, re.sub(r"^\s*\d+\s*;\s*url=", "", of["content"], flags=re.I))


class Browser:
    def __init__(self):
        self.cookies = {}  # host -> name -> value

    def open(self, url, form=None):
        """Follows redirects and refreshes until a page stays."""
        for _ in range(MAX_HOPS):
            status, headers, text = self._send(url, form)
            form = None
            if status in (302, 303) and headers.get("Location"):
                url = urllib.parse.urljoin(url, headers["Location"])
                continue
            page = Page(url, status, text)
            if not page.refresh:
                return page
            url = page.refresh
        raise Failed(f"{url}: redirected again and again")

    def consent(self, link, user, password):
        """Allows, logs in, and allows again; returns the last page."""
        page = self.open(link)
        for _ in range(4):
            if page.action is None:
                break
            fields = [(name, {"username": user, "password": password}.get(name, value)) for name, value in page.fields]
            fields += [button for button in page.buttons if button[1] == "allow"]
            page = self.open(page.action, fields)
        return page

    def _send(self, url, form):
        to = urllib.parse.urlsplit(url)
        mine = self.cookies.setdefault(to.hostname, {})
        headers = {"Host": to.netloc, "Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate",
                   "Sec-Fetch-Dest": "document"}
        if mine:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in mine.items())
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"{to.scheme}://{to.netloc}"}
        connection = http.client.HTTPConnection(*ADDRESS, timeout=15)
        try:
            target = urllib.parse.urlunsplit(("", "", to.path or "/", to.query, ""))
            connection.request("POST" if body is not None else "GET", target, body, headers)
            response = connection.getresponse()
            for line in response.headers.get_all("Set-Cookie", []):
                for name, morsel in http.cookies.SimpleCookie(line).items():
                    mine[name] = morsel.value
            return response.status, response.headers, response.read(MAX_BYTES).decode(errors="replace")
        finally:
            connection.close()

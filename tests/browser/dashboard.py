"""Uses the dashboard as a person would: what it shows, how it moves, and that it complains about nothing."""

import sys

from driving import By, Keys, Select, accessible, browser, check, finish, overflow, quiet, rows, select, text, until

address, pictures, axe = sys.argv[1:]

desktop = browser(1280)
try:
    desktop.get(address)
    until("a chart", lambda: desktop.find_elements(By.CSS_SELECTOR, "#chart canvas"))
    until("rows", lambda: rows(desktop))
    check("it says where its watershed is", "watershed" in text(desktop, "#coverage"))
    until("a version", lambda: "none yet" not in text(desktop, "#coverage"))
    select(desktop, "view", "flight_delays")
    select(desktop, "grain", "1 day")
    until("both parts", lambda: {"below the watershed", "with live records"} <= set(text(desktop, "#legend").split("\n")))
    until("days", lambda: "T00:00:00Z" in rows(desktop)[0].text)
    before = text(desktop, "#coverage")
    until("it moves by itself", lambda: text(desktop, "#coverage") != before)
    until("a row with live records", lambda: any("with live records" in row.text for row in rows(desktop)))
    select(desktop, "measure", "p95_delay")
    until("an error band", lambda: "within ±" in text(desktop, "#legend"))
    until("estimates are marked", lambda: any("≈ estimate" in row.text for row in rows(desktop)))
    desktop.save_screenshot(f"{pictures}/explore.png")
    accessible(desktop, "the first page", axe)

    select(desktop, "measure", "flights")
    select(desktop, "split", "origin")
    until("a line per origin", lambda: {"EWR", "JFK", "LGA"} <= set(text(desktop, "#legend").split("\n")))
    desktop.save_screenshot(f"{pictures}/split.png")
    address_with_question = desktop.current_url
    check("the address holds the question", "split=origin" in address_with_question)

    select(desktop, "dimension", "carrier")
    value = desktop.find_element(By.NAME, "value")
    value.send_keys("AA", Keys.TAB)
    until("fewer flights", lambda: "AA" in desktop.current_url)
    desktop.find_element(By.NAME, "from").send_keys("yesterday", Keys.TAB)
    problem = until("a wrong time is told", lambda: text(desktop, "#problem"))
    check(f"the problem names it: {problem}", "yesterday" in problem)
    # The browser tells of each refused request; nothing else may be in its log.
    refused = [entry for entry in desktop.get_log("browser") if entry["level"] == "SEVERE"]
    check(f"only refused requests: {refused}", all("status of 400" in entry["message"] for entry in refused))

    desktop.get(address_with_question)
    desktop.refresh()
    until("a question from an address", lambda: "EWR" in text(desktop, "#legend"))
    check("the form shows it", Select(desktop.find_element(By.NAME, "split")).first_selected_option.text == "origin")

    desktop.find_element(By.LINK_TEXT, "Streams").click()
    until("the stream", lambda: desktop.find_elements(By.CSS_SELECTOR, "article.stream"))
    card = text(desktop, "article.stream")
    for fact in ("version", "dead letters", "time to loss", "partition", "largest measured error"):
        check(f"the stream tells {fact}: {card}", fact in card.lower())
    desktop.save_screenshot(f"{pictures}/streams.png")
    accessible(desktop, "the streams page", axe)

    desktop.find_element(By.LINK_TEXT, "SQL").click()
    statement = desktop.find_element(By.NAME, "sql")
    until("a statement to begin with", lambda: "SELECT" in statement.get_property("value"))

    def run(sql):
        statement.clear()
        statement.send_keys(sql, Keys.CONTROL, Keys.ENTER)

    result = lambda: desktop.find_elements(By.CSS_SELECTOR, "#sql-rows tbody tr")
    run("SELECT carrier, sum(flights) AS n FROM flight_delays GROUP BY carrier ORDER BY n DESC")
    until("a row per carrier", lambda: len(result()) > 5)
    until("a bar per carrier", lambda: len(desktop.find_elements(By.CSS_SELECTOR, "#sql-chart .bar")) == len(result()))
    check("it says where its watershed is", "watershed" in text(desktop, "#sql-coverage"))
    run("SELECT hour, p95_delay FROM flight_delays WHERE carrier = 'AA' AND origin = 'JFK' ORDER BY hour")
    until("a chart over time", lambda: desktop.find_elements(By.CSS_SELECTOR, "#sql-chart canvas"))
    desktop.save_screenshot(f"{pictures}/sql.png")
    accessible(desktop, "the SQL page", axe)
    quiet(desktop)
    run("SELECT carrier FROM flight_delay")
    problem = until("a wrong name is told", lambda: text(desktop, "#sql-problem"))
    check(f"with its place and the nearest: {problem}", "column 21" in problem and "flight_delays" in problem)
    refused = [entry for entry in desktop.get_log("browser") if entry["level"] == "SEVERE"]
    check(f"only the refused request: {refused}", all("status of 404" in entry["message"] for entry in refused))
finally:
    desktop.quit()

phone = browser(390, dark=True)
try:
    phone.get(address)
    until("a chart", lambda: phone.find_elements(By.CSS_SELECTOR, "#chart canvas"))
    until("rows", lambda: rows(phone))
    check("nothing sticks out on a phone", not overflow(phone))
    phone.save_screenshot(f"{pictures}/phone.png")
    accessible(phone, "the page on a phone in the dark", axe)
    # By keyboard alone: skip link, pages, then the form.
    phone.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    check("the first stop skips to the content", phone.switch_to.active_element.text == "Skip to content")
    phone.switch_to.active_element.send_keys(Keys.TAB, Keys.TAB, Keys.ENTER)
    until("the streams page by keyboard", lambda: phone.find_elements(By.CSS_SELECTOR, "article.stream"))
    check("nothing sticks out there either", not overflow(phone))
    phone.save_screenshot(f"{pictures}/phone-streams.png")
    quiet(phone)
finally:
    phone.quit()

finish()

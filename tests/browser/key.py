"""A server that wants to know who asks: the dashboard asks for a key, keeps it in its tab, and shows what the key may see."""

import sys

from driving import By, accessible, browser, check, finish, text, until

address, key, axe = sys.argv[1:]

driver = browser(1280)
driver.get(address)
box = driver.find_element(By.ID, "key-box")
until("the box opens", box.is_displayed)
check("nothing is complained of yet", not driver.find_element(By.ID, "key-problem").is_displayed())
accessible(driver, "the key box", axe)

field = driver.find_element(By.NAME, "key")
field.send_keys("wsk_000000000000_" + "0" * 64 + "\n")
until("a wrong key is told", lambda: driver.find_element(By.ID, "key-problem").is_displayed())
check("the box asks again", box.is_displayed())
accessible(driver, "the key box after a wrong key", axe)

field.send_keys(key + "\n")
until("the box goes", lambda: not box.is_displayed())
until("the view is chosen", lambda: driver.find_element(By.NAME, "view").get_attribute("value") == "events_by_minute")
until("rows are shown", lambda: driver.find_elements(By.CSS_SELECTOR, "#rows tbody tr"))
kept = "return [sessionStorage.length, localStorage.length, document.cookie]"
check("the key stays in the tab", driver.execute_script(kept) == [1, 0, ""])
check("the address does not hold it", key not in driver.current_url)

driver.refresh()
until("rows are shown after a reload", lambda: driver.find_elements(By.CSS_SELECTOR, "#rows tbody tr"))
check("nobody is asked again", not driver.find_element(By.ID, "key-box").is_displayed())
driver.find_element(By.CSS_SELECTOR, 'a[href="#/streams"]').click()
until("the stream is shown", lambda: "events" in text(driver, "#stream-list"))
driver.quit()
finish()

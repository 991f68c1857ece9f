//! The admin port of the program: its pages, and who cannot keep a probe from them.

use tokio::net::TcpStream;

use super::client::ask;
use super::process::Webhook;

#[tokio::test]
async fn found_p13_the_page_is_in_the_format_that_is_asked_for() {
    let webhook = Webhook::start(&[]);
    for (accept, content_type, counter) in [
        (
            "text/plain",
            "text/plain; version=0.0.4; charset=utf-8",
            "# TYPE cordonhold_webhook_panics_total counter\n",
        ),
        (
            "text/plain;q=0.1,application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE cordonhold_webhook_panics counter\n",
        ),
    ] {
        let mut stream = TcpStream::connect(webhook.admin).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        let page = ask(&mut stream, &request).await;
        assert_eq!(page.header("content-type"), Some(content_type));
        assert!(page.text().contains(counter), "{}", page.text());
    }
}

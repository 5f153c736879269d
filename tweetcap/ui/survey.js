// The questionnaire in the browser. gr.HTML runs this file once, with `element` (an empty box), `props.survey` (title,
// consent, questions) and `server` (the functions of survey_page.py; one resolves to undefined where a call fails).
//
// The server knows where a rater is: it is asked what to show, and told the position that an answer belongs to. Texts
// become text nodes, never markup. The browser keeps the rater's token, the language and what is ticked but not sent.

const TEXTS = {
    ja: {
        other: 'English', start: '同意して始める', count: n => `全部で${n}問です。`, progress: (n, all) => `${n} / ${all}`,
        progressLabel: '進み具合', photo: '評価する写真', textLabel: '写真につけた文章', next: '次へ', sending: '送信中…',
        instruction: answer => `この問題は確認用です。「${answer}」を選んでください。`,
        instructionAll: answer => `この問題は確認用です。すべての質問で「${answer}」を選んでください。`,
        choices: {left: 'A', tie: '同じくらい', right: 'B'}, missing: question => `「${question}」に答えてください。`,
        waitForPhoto: '写真がまだ表示されていません。少し待ってから、もう一度押してください。',
        offline: 'つながりませんでした。選んだ答えは残っています。少し待ってから、もう一度押してください。',
        cannotOpen: 'つながりませんでした。少し待ってから、もう一度お試しください。', again: 'もう一度',
        elsewhere: 'この問題は、別の画面で回答済みでした。続きからどうぞ。',
        refused: '答えを受け取れませんでした。ページを読み込み直してください。',
        unknown: 'このリンクは見つかりませんでした。はじめから答えられます。',
        later: 'あとで続きから答える',
        laterHelp: 'いつでも閉じてかまいません。このブラウザでは、ページを開くと続きから始まります。別の端末では、次のリンクを開いてください。リンクは人に渡さないでください。',
        link: '続きから答えるためのリンク', copy: 'コピー', copied: 'コピーしました',
        thanks: 'ご協力ありがとうございました', thanksHelp: 'すべての回答を受け取りました。このページは閉じてかまいません。',
        code: '完了コード', another: 'この端末で別の人が答える',
        closed: 'このアンケートは終了しました。ありがとうございました。',
        full: '必要な人数に達したため、新しい回答の受け付けを終了しました。ありがとうございました。',
    },
    en: {
        other: '日本語', start: 'I agree: start', count: n => `There are ${n} items.`, progress: (n, all) => `${n} / ${all}`,
        progressLabel: 'Progress', photo: 'The photo to judge', textLabel: 'The text with the photo', next: 'Next',
        sending: 'Sending…',
        instruction: answer => `This item is a check. Please choose “${answer}”.`,
        instructionAll: answer => `This item is a check. Please choose “${answer}” for every question.`,
        choices: {left: 'A', tie: 'About the same', right: 'B'}, missing: question => `Please answer “${question}”.`,
        waitForPhoto: 'The photo is not there yet. Please wait a moment and press again.',
        offline: 'No connection. Your choices are kept: please wait a moment and press again.',
        cannotOpen: 'No connection. Please wait a moment and try again.', again: 'Try again',
        elsewhere: 'This item was answered in another window already. Please go on here.',
        refused: 'The answer could not be taken. Please reload the page.',
        unknown: 'Nobody is known by this link. You can start from the beginning.',
        later: 'Go on later',
        laterHelp: 'You can close the page at any time. In this browser it opens where you stopped. On another device, open this link. Please keep it to yourself.',
        link: 'Link to go on by', copy: 'Copy', copied: 'Copied',
        thanks: 'Thank you', thanksHelp: 'We have all your answers. You can close this page.',
        code: 'Completion code', another: 'Somebody else answers on this device',
        closed: 'This questionnaire is closed. Thank you for your interest.',
        full: 'We have all the answers we need and take no new ones. Thank you for your interest.',
    },
};
const RETRIES = [0, 700, 2500];  // milliseconds before each try; the server takes a start and an answer once
const survey = props.survey;
const key = 'tweetcap-survey-' + survey.study;

let kept = read();  // {token, language, draft: {position, values}}
let view = null;    // what the server said to show
let values = {};    // what is ticked, by question
let shownAt = 0;    // milliseconds, of performance.now()
let busy = false;

function read() {
    try { return JSON.parse(localStorage.getItem(key)) ?? {}; } catch { return {}; }
}

function keep(changes) {
    kept = {...kept, ...changes};
    try { localStorage.setItem(key, JSON.stringify(kept)); return true; } catch { return false; }
}

function language() {
    const wanted = [kept.language, ...(navigator.languages ?? [navigator.language])];
    return wanted.map(tag => (tag ?? '').slice(0, 2)).find(tag => tag in TEXTS) ?? 'en';
}

const say = () => TEXTS[language()];
const sleep = milliseconds => new Promise(done => setTimeout(done, milliseconds));

function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
        else if (value !== false && value != null) node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.filter(child => child != null));
    return node;
}

async function ask(name, data) {
    for (const [tries, pause] of RETRIES.entries()) {
        await sleep(pause);
        const answer = await server[name](data);
        if (answer) return {...answer, tries};
    }
    return null;
}

// --- Screens ---

function render(notice) {
    const text = say();
    document.documentElement.lang = language();
    document.title = survey.title[language()];
    const top = make('div', {class: 'top'}, progress(text), languageSwitch(text));
    const box = make('div', {class: 'box'}, top, ...SCREENS[view.screen](text));
    element.querySelector('.survey').replaceChildren(box);
    if (notice) tell(notice);
}

function languageSwitch(text) {
    const other = language() === 'ja' ? 'en' : 'ja';
    const change = () => { keep({language: other}); render(); element.querySelector('.language').focus(); };
    return make('button', {type: 'button', class: 'language', lang: other, onclick: change}, text.other);
}

function progress(text) {
    if (view.screen !== 'task') return null;
    return make('div', {class: 'progress'},
        make('h1', {tabindex: -1}, text.progress(view.position, view.total)),
        make('progress', {max: view.total, value: view.position - 1, 'aria-label': text.progressLabel}));
}

function heading(text) {
    return make('h1', {tabindex: -1}, text);
}

function tell(sentence) {
    const place = element.querySelector('.notice');
    if (place) place.textContent = sentence;
}

function noticePlace() {
    return make('p', {class: 'notice', role: 'alert'});
}

function newToken() {
    const bytes = crypto.getRandomValues(new Uint8Array(24));
    return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_');
}

function begin(text) {
    const token = newToken();  // made here, so that a start whose answer is lost doesn't let in a second rater
    const start = async event => {
        event.target.disabled = true;
        const answer = await ask('start_survey', {language: language(), token});
        if (answer?.screen) return show(answer);
        event.target.disabled = false;
        tell(text.cannotOpen);
    };
    return [
        heading(survey.title[language()]),
        make('p', {class: 'consent'}, survey.consent[language()]),
        make('p', {}, text.count(survey.tasks)),
        noticePlace(),
        make('button', {type: 'button', class: 'main', onclick: start}, text.start),
    ];
}

function task(text) {
    const photo = make('img', {
        src: view.photo, width: view.width, height: view.height, alt: text.photo, draggable: 'false',
        onerror: async event => { await sleep(2000); event.target.src = view.photo + '?again'; },
    });
    if (view.next_photo) new Image().src = view.next_photo;
    const form = make('form', {novalidate: true, onsubmit: event => { event.preventDefault(); send(photo); }},
        ...survey.questions.map(question => fieldset(question, text)),
        noticePlace(),
        make('button', {class: ready() ? 'main' : 'main waiting'}, text.next));
    return [
        make('figure', {}, photo, make('figcaption', {}, ...captions(text))),
        form,
        later(text),
    ];
}

const ready = () => survey.questions.every(question => question.name in values);

function captions(text) {
    if (view.instruction) {
        const answer = text.choices[view.instruction] ?? view.instruction;
        const sentence = (survey.questions.length > 1 ? text.instructionAll : text.instruction)(answer);
        return [make('p', {class: 'text instruction'}, sentence)];
    }
    return view.texts.map((sentence, number) => {
        const name = view.texts.length > 1 ? make('span', {class: 'name'}, 'AB'[number]) : null;
        const words = make('span', {lang: 'ja', dir: 'auto', class: 'words'}, sentence);
        return make('div', {class: 'text', role: 'group', 'aria-label': text.textLabel}, name, words);
    });
}

function fieldset(question, text) {
    const wording = question[language()];
    const options = survey.mode === 'rating'
        ? [1, 2, 3, 4, 5].map(score => [score, String(score), {1: wording.low, 5: wording.high}[score]])
        : ['left', 'tie', 'right'].map(choice => [choice, text.choices[choice]]);
    const choose = value => {
        values[question.name] = value;
        keep({draft: {position: view.position, values}});
        element.querySelector(`fieldset[name="${question.name}"]`).classList.remove('missing');
        element.querySelector('form .main').classList.toggle('waiting', !ready());
        tell('');
    };
    const labels = options.map(([value, label, meaning]) => make('label', {},
        make('input', {
            type: 'radio', name: question.name, value, checked: values[question.name] === value,
            'aria-label': meaning ? `${label}: ${meaning}` : null, onchange: () => choose(value),
        }),
        make('span', {}, label)));
    const ends = survey.mode === 'rating'
        ? make('div', {class: 'ends', 'aria-hidden': 'true'}, make('span', {}, wording.low), make('span', {}, wording.high))
        : null;
    return make('fieldset', {name: question.name, class: survey.mode},
        make('legend', {}, wording.text), make('div', {class: 'options'}, ...labels), ends);
}

function later(text) {
    const link = location.origin + location.pathname + '?rater=' + kept.token;
    return make('details', {class: 'later'},
        make('summary', {}, text.later), make('p', {}, text.laterHelp), copyable(link, text.link, text));
}

function copyable(value, label, text) {
    const input = make('input', {type: 'text', readonly: true, value, 'aria-label': label});
    const copy = async event => {
        try {
            await navigator.clipboard.writeText(value);
        } catch {  // a page without https, as one at home is
            input.select();
            document.execCommand('copy');
        }
        event.target.textContent = text.copied;
    };
    return make('div', {class: 'copyable'}, input, make('button', {type: 'button', onclick: copy}, text.copy));
}

function done(text) {
    const restart = () => { keep({token: null, draft: null}); open(); };
    return [
        heading(text.thanks),
        make('p', {}, text.thanksHelp),
        make('p', {class: 'label'}, text.code),
        copyable(view.code, text.code, text),
        make('button', {type: 'button', class: 'other', onclick: restart}, text.another),
    ];
}

const message = name => text => [heading(survey.title[language()]), make('p', {class: 'message'}, text[name])];
const unreachable = text => [
    make('p', {class: 'message', role: 'alert'}, text.cannotOpen),
    make('button', {type: 'button', class: 'main', onclick: () => open()}, text.again),
];
const SCREENS = {start: begin, task, done, closed: message('closed'), full: message('full'), unreachable};

// --- What happens ---

async function open() {
    const address = new URL(location);
    const linked = address.searchParams.get('rater');
    const token = linked ?? kept.token ?? null;
    const answer = await ask('open_survey', {token});
    if (!answer) return show({screen: 'unreachable'});
    if (answer.known) {
        // Whoever copies the address to a friend must not give the friend their own place.
        const safe = keep({token, ...(linked && linked !== read().token ? {draft: null} : {})});
        if (safe) address.searchParams.delete('rater');
    } else if (answer.screen === 'start') {
        address.searchParams.delete('rater');
    }
    history.replaceState(history.state, '', address);
    show(answer, linked && !answer.known && answer.screen === 'start' ? say().unknown : null);
}

function show(answer, notice) {
    if (answer.token) keep({token: answer.token, draft: null});
    const moved = view !== null;
    view = answer;
    values = kept.draft && kept.draft.position === view.position ? kept.draft.values : {};
    shownAt = performance.now();
    render(notice);
    if (moved) {
        element.scrollIntoView();
        element.querySelector('h1')?.focus({preventScroll: true});
    }
}

async function send(photo) {
    if (busy) return;
    const text = say();
    const missing = survey.questions.find(question => !(question.name in values));
    if (missing) {
        const group = element.querySelector(`fieldset[name="${missing.name}"]`);
        group.classList.add('missing');
        group.querySelector('input').focus();
        return tell(text.missing(missing[language()].text));
    }
    if (!photo.complete || !photo.naturalWidth) return tell(text.waitForPhoto);
    busy = true;
    element.querySelector('form .main').textContent = text.sending;
    tell('');
    await sleep(1000 * survey.minimum_seconds - (performance.now() - shownAt));
    const data = {token: kept.token, position: view.position, values, language: language()};
    let answer = await ask('give_answer', data);
    if (answer?.problem === 'too_soon') {  // another tab showed the item later
        await sleep(1000 * answer.wait + 50);
        answer = await ask('give_answer', data);
    }
    busy = false;
    element.querySelector('form .main').textContent = say().next;
    if (!answer) return tell(say().offline);
    if (answer.problem) return tell(say().refused);
    show(answer, answer.taken === false && !answer.tries ? say().elsewhere : null);
}

function onDigit(event) {
    const meant = /^[1-5]$/.test(event.key) && !event.ctrlKey && !event.altKey && !event.metaKey;
    if (!meant || view?.screen !== 'task' || event.target.type === 'text') return;
    const groups = [...element.querySelectorAll('fieldset')];
    const open = groups.filter(group => !group.querySelector(':checked'));
    const group = groups.find(group => group.contains(document.activeElement)) ?? open[0];
    const input = group?.querySelectorAll('input')[event.key - 1];
    if (!input) return;
    input.click();
    const next = open.find(other => other !== group && groups.indexOf(other) > groups.indexOf(group));
    (next?.querySelector('input') ?? element.querySelector('form .main')).focus();
}

document.addEventListener('keydown', onDigit);
open();
